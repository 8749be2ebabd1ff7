#pragma once

#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "expar/compute/rows.hpp"
#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// Where row 0 from each member stands behind `first` others.
inline std::vector<int> row_starts(const std::vector<int>& counts, int first) {
    std::vector<int> starts(counts.size());
    std::exclusive_scan(counts.begin(), counts.end(), starts.begin(), first);
    return starts;
}

/// Fills node_sums where the source has all partials of its tokens: own ones, then those received as plan.rows says.
/// member_of [T, k]
void list_sums_of_partials(DispatchPlan& plan, std::span<const int> member_of, const PlanScope& scope, Device& device);

/// The same where it has the outputs of all choices, in the places that choice_host and choice_row tell.
void list_sums_of_places(DispatchPlan& plan, const PlanScope& scope, Device& device);

/// Adds the choices of every token as node_reduced says, from those lists.   places as the plan's, weights [T, k] or
/// none, out [T, cols]. Returns the bytes stored besides.
std::int64_t sum_by_node(Device& device, const DispatchPlan& plan, Places places, ConstRows weights, Rows out);

}  // namespace expar
