#pragma once

#include <span>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// The first token of a chunk when so many tokens are dealt to chunks in their order, each floor or ceil of them;
/// chunk == chunks: the end.
[[nodiscard]] int first_token_of(int chunk, int chunks, int tokens);

/// A copy of the routing of `tokens` tokens from `first` on.
[[nodiscard]] Routing part_of(const Routing& routing, int first, int tokens);

/// The expert rows of several plans, which are one layer's tokens in runs, in the order that they have in a plan of all
/// tokens: by local expert, then source member, then plan.
struct JoinedRows {
    std::vector<int> offsets;        ///< [local experts + 1]
    std::vector<Array<int>> places;  ///< by plan: [A], where each of its rows comes to lie
};
[[nodiscard]] JoinedRows join_rows(std::span<const DispatchPlan* const> plans, Device& device);

}  // namespace expar
