#pragma once

#include <cstdint>

namespace expar::cli {

[[nodiscard]] std::int64_t resident_bytes();       ///< of this process, now; 0: the system does not say
[[nodiscard]] std::int64_t peak_resident_bytes();  ///< the most that it ever had

/// What all processes beside each other may use: the machine's memory, or the limit of this process's control group or
/// of one around it where that is less. 0: unknown.
[[nodiscard]] std::int64_t memory_limit_bytes();

}  // namespace expar::cli
