#pragma once

#include <span>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// What a member counts alone before a plan in which every member knows everybody's counts: its kept choices for each
/// slot of the layer. Slots are those of member 0, then of member 1, and so on.
struct ChoiceCounts {
    std::vector<int> first_slot;  ///< [members + 1]
    std::vector<int> slot_of;     ///< [T, k]; -1: dropped or none
    std::vector<int> choices;     ///< [slots]
    int rows_delivered = 0;       ///< distinct (token, member)

    [[nodiscard]] int slots() const { return first_slot.back(); }
};

/// Throws Error, naming token and expert, when there is no such expert.
[[nodiscard]] ChoiceCounts count_choices(const Routing& routing, const PlanScope& scope);

/// The plan that follows from the counts of all members [members][slots]: each choice's row at its host, where rows are
/// ordered by local expert, then source member, token, choice. No headers are needed.
[[nodiscard]] DispatchPlan plan_from_counts(const ChoiceCounts& mine, std::span<const int* const> choices_of,
                                            const Routing& routing, const PlanScope& scope);

}  // namespace expar
