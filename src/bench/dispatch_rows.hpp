#pragma once

#include <memory>
#include <span>
#include <vector>

#include "contender.hpp"

namespace expar {

/// Of the slowest rank: one for each round, by region. Equal on all ranks.
using RegionTimes = std::array<std::vector<double>, region_count>;

/// All that took part in a cell, and how long it took.
struct CellResult {
    std::vector<std::unique_ptr<DispatcherContender>> dispatchers;
    std::vector<RegionTimes> times;     ///< of each of them
    std::array<RegionTimes, 2> probes;  ///< ordinary stores, and past the caches
    double copy_bytes = 0;              ///< of the probes' copy, on the busiest rank
    RegionTimes alltoallv;
};

/// The same on every rank. Collective.
[[nodiscard]] std::vector<BenchRow> rows_of(const CellContext& context, const CellResult& result);

}  // namespace expar
