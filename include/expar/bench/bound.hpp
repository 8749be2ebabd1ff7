#pragma once

#include <string_view>

namespace expar {

/// Bytes between the processor and its memory.
struct MemoryTraffic {
    double read = 0;
    double written = 0;
    double updated = 0;  ///< of what is read and then written in place: counts twice in bytes()

    [[nodiscard]] double bytes() const { return read + written + 2 * updated; }
};

/// Bytes per second of a loop that does nothing else; of copy and update, both ways together.
struct Bandwidth {
    double read = 0;
    double write = 0;
    double copy = 0;
    double update = 0;
};

/// The least time that this traffic takes: as much as can be paired of what is read and written at the rate of a copy,
/// the rest of either at its own rate, what is updated at that of an update. Rates that are not needed may be 0.
[[nodiscard]] double seconds_of(const MemoryTraffic& traffic, const Bandwidth& bandwidth);

/// What a machine can do.
struct Rates {
    Bandwidth bandwidth;
    double flops_per_second = 0;
};

/// What a kernel cannot be faster than.
struct Bound {
    double memory_seconds = 0;
    double compute_seconds = 0;

    [[nodiscard]] double seconds() const { return memory_seconds < compute_seconds ? compute_seconds : memory_seconds; }
    [[nodiscard]] std::string_view name() const { return memory_seconds < compute_seconds ? "compute" : "memory"; }
};
[[nodiscard]] Bound bound_of(const MemoryTraffic& traffic, double flops, const Rates& rates);

}  // namespace expar
