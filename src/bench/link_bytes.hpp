#pragma once

#include <cstdint>
#include <string>

namespace expar {

/// What the kernel has counted on a network interface of this node since it came up; zeros without a name. Throws
/// UserError when there is none of that name.
struct LinkBytes {
    std::int64_t sent = 0, received = 0;
};
[[nodiscard]] LinkBytes link_bytes(const std::string& interface);

}  // namespace expar
