#include "expar/bench/bound.hpp"

#include <algorithm>

namespace expar {

double seconds_of(const MemoryTraffic& traffic, const Bandwidth& bandwidth) {
    const auto at = [](double bytes, double rate) { return bytes > 0 ? bytes / rate : 0.0; };
    const double paired = std::min(traffic.read, traffic.written);
    return at(2 * paired, bandwidth.copy) + at(traffic.read - paired, bandwidth.read) +
           at(traffic.written - paired, bandwidth.write) + at(2 * traffic.updated, bandwidth.update);
}

Bound bound_of(const MemoryTraffic& traffic, double flops, const Rates& rates) {
    return {seconds_of(traffic, rates.bandwidth), flops > 0 ? flops / rates.flops_per_second : 0};
}

}  // namespace expar
