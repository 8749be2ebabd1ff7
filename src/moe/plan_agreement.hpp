#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// Tells plans apart that would misread each other's counts: layer, k, order, type of the weights, the layer's
/// placement, and the topology.
[[nodiscard]] std::uint32_t hash_of_plan(int top_k, DType weight_dtype, const PlanScope& scope);

/// What a member says before it sends headers.
struct Announcement {
    static constexpr int values = 6;

    int rows = 0;      ///< delivered rows that are on their way
    int choices = 0;   ///< in them
    int all_rows = 0;  ///< the same to all others
    int all_choices = 0;
    int carried = 0;  ///< rows that are carried here, to be forwarded or, from the own node, to stay
};

/// One for each member, Announcement::values numbers each, sealed with the plan's hash.
[[nodiscard]] std::vector<int> sealed(const SourcePlan& source, const PlanScope& scope, std::uint32_t plan_hash);

/// Those that the members have sent. Throws Error that names a member whose seal does not fit.
[[nodiscard]] std::vector<Announcement> unsealed(std::span<const int> received, const PlanScope& scope,
                                                 std::uint32_t plan_hash);

/// Throws Error that names a member whose headers hold other choices than it announced.
void expect_announced(std::span<const Announcement> announced, const DispatchPlan& plan);

}  // namespace expar
