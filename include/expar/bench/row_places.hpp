#pragma once

#include <vector>

#include "expar/bench/skew.hpp"
#include "expar/comm/exchange.hpp"

namespace expar {

/// Where the rows of one rank's tokens lie at their hosts, by routing and placement alone: what any algorithm that
/// copies once must touch. At a host rows lie by slot of the expert, then source, token, choice.
struct RowPlaces {
    int tokens = 0;            ///< T
    int top_k = 0;             ///< k
    std::vector<int> host;     ///< [T, k]; -1: no choice
    std::vector<int> row;      ///< [T, k] among the rows of the host
    std::vector<int> rows_at;  ///< [ranks], A of each
};
[[nodiscard]] RowPlaces row_places(const RoutedLayer& routed, int rank);

/// How many rows of one forward dispatch a rank has to do with.
struct RowNumbers {
    RowCounts distinct;  ///< one for each (token, rank), without own ones
    RowCounts choices;   ///< one for each (token, choice), without own ones
    int tokens = 0;      ///< T
    int kept = 0;        ///< choices of its tokens
    int spread = 0;      ///< distinct (token, rank) of its tokens, own rank included
    int delivered = 0;   ///< distinct (token, rank) that this rank hosts, own tokens included
    int served = 0;      ///< A: choices that this rank hosts
};
[[nodiscard]] RowNumbers row_numbers(const RoutedLayer& routed, int rank);

}  // namespace expar
