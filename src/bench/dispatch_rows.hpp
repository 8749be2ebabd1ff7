#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
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

/// What memory allows in a region, with the stores that are faster: by the median probe, and by the lower end of its
/// interval. None where nothing bounds it.
struct BoundSeconds {
    double median = 0, low = 0;
};
[[nodiscard]] std::optional<BoundSeconds> memory_bound(std::span<const RegionTimes> probes, Region region);
/// How long the busiest node's link is busy at least with the rows of a region; 0 where no rate is given.
[[nodiscard]] double link_seconds(const CellContext& context, const RowCount& busiest, const std::string& order,
                                  Region region);

/// The same on every rank. Collective.
[[nodiscard]] std::vector<BenchRow> rows_of(const CellContext& context, const CellResult& result);

}  // namespace expar
