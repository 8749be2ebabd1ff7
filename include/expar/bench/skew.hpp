#pragma once

#include <cstdint>
#include <span>

#include "expar/bench/workload.hpp"
#include "expar/comm/topology.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// How unequally choices fall on those who serve them. Where there are none, all is even.
struct Skew {
    double rank_max_over_mean = 1;
    double expert_max_over_mean = 1;
    double rank_gini = 0;  ///< 0: all equal, towards 1: one has all
    double expert_gini = 0;
    double zero_fraction = 0;  ///< of the experts, those that nobody chose
};

/// Rows of one forward dispatch that leave a rank (y) or a node (x): one for each choice (0), for each distinct (token,
/// rank) (1), for each distinct (token, node) (2).
struct RowCount {
    std::int64_t x0 = 0, x1 = 0, x2 = 0, y0 = 0, y1 = 0;

    friend bool operator==(const RowCount&, const RowCount&) = default;
};
struct MovedRows {
    RowCount total;
    RowCount busiest;  ///< the largest of what goes out of, or comes into, one node (x) or rank (y)
};

/// Where a routing meets the machine: an EP group over all ranks, in the order of `all`.
struct RoutedLayer {
    std::span<const RankRouting> all;  ///< [R]
    const Placement* placement = nullptr;
    int layer = 0;
};

[[nodiscard]] Skew skew_of(const RoutedLayer& routed);
/// Throws Error when ranks of routing, placement and topology are not equally many.
[[nodiscard]] MovedRows moved_rows(const RoutedLayer& routed, const Topology& topology);

/// Of loads that are not negative: Σ_i Σ_j |a_i - a_j| / (2 n Σ a); 0 when there is no load.
[[nodiscard]] double gini_of(std::span<const std::int64_t> loads);

/// Distinct groups that a token's k choices out of E experts touch, in the mean, when every set is as likely and the
/// experts lie in equal groups: G (1 - C(E - E/G, k) / C(E, k)).
[[nodiscard]] double uniform_groups_touched(int experts, int top_k, int groups);

}  // namespace expar
