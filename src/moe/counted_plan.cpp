#include "counted_plan.hpp"

#include <limits>
#include <numeric>
#include <utility>

namespace expar {
namespace {

// The slots of every expert, by ascending member.
class ExpertSlots {
public:
    ExpertSlots(const Placement& placement, int layer) : first_(std::size_t(placement.experts()) + 1) {
        for (int e = 0; e < placement.experts(); ++e)
            first_[std::size_t(e) + 1] = first_[std::size_t(e)] + int(placement.hosts_of(layer, e).size());
        slots_.resize(std::size_t(first_.back()));
        member_of_.reserve(slots_.size());
        std::vector<int> next(first_.begin(), first_.end() - 1);
        for (int m = 0; m < placement.members(); ++m)
            for (const int expert : placement.experts_on(layer, m)) {
                slots_[std::size_t(next[std::size_t(expert)]++)] = int(member_of_.size());
                member_of_.push_back(m);
            }
    }

    // As Placement::host_for chooses.
    [[nodiscard]] int slot_for(int expert, std::int64_t global_token) const {
        const int first = first_[std::size_t(expert)], copies = first_[std::size_t(expert) + 1] - first;
        return slots_[std::size_t(first) + (copies == 1 ? 0 : std::size_t(global_token) % std::size_t(copies))];
    }
    [[nodiscard]] int member_of(int slot) const { return member_of_[std::size_t(slot)]; }

private:
    std::vector<int> first_;  // [E + 1]
    std::vector<int> slots_;
    std::vector<int> member_of_;
};

std::vector<int> first_slots(const Placement& placement, int layer) {
    std::vector<int> first{0};
    for (int m = 0; m < placement.members(); ++m)
        first.push_back(first.back() + int(placement.experts_on(layer, m).size()));
    return first;
}

// The counts of all members, added up by slot.
struct SlotSums {
    std::vector<std::int64_t> total, before;  // before: of the members in front of this one

    SlotSums(std::span<const int* const> choices_of, std::size_t slots, int member) : total(slots), before(slots) {
        for (int m = 0; m < int(choices_of.size()); ++m) {
            if (m == member) before = total;
            for (std::size_t slot = 0; slot < slots; ++slot) total[slot] += choices_of[std::size_t(m)][slot];
        }
    }
};

// The first row of this member's choices in each slot; lists how many rows every host has, and where they begin here.
std::vector<int> first_rows(const ChoiceCounts& mine, const SlotSums& sums, DispatchPlan& plan) {
    std::vector<int> rows(std::size_t(mine.slots()));
    const int members = int(mine.first_slot.size()) - 1;
    for (int m = 0; m < members; ++m) {
        std::int64_t row = 0;
        if (m == plan.member) plan.expert_offsets.assign(1, 0);
        for (auto slot = std::size_t(mine.first_slot[m]); slot < std::size_t(mine.first_slot[m + 1]); ++slot) {
            rows[slot] = int(row + sums.before[slot]);
            row += sums.total[slot];
            if (row > std::numeric_limits<int>::max())
                throw Error(concat("plan of layer ", plan.layer, ": member ", m, " would serve ", row,
                                   " rows, expected fewer than 2147483648"));
            if (m == plan.member) plan.expert_offsets.push_back(int(row));
        }
        plan.rows_at.push_back(int(row));
    }
    return rows;
}

// [local experts, members] choices of each member for the slots here.
std::vector<int> served_for(const ChoiceCounts& mine, std::span<const int* const> choices_of, int member) {
    std::vector<int> rows;
    for (int slot = mine.first_slot[member]; slot < mine.first_slot[member + 1]; ++slot)
        for (const int* choices : choices_of) rows.push_back(choices[slot]);
    return rows;
}

// Choices that each other member has for the slots here, and the other way.
RowCounts returns_of(const ChoiceCounts& mine, std::span<const int* const> choices_of, int member) {
    const auto sum = [&](std::size_t from, int host) {
        int rows = 0;
        for (int slot = mine.first_slot[host]; slot < mine.first_slot[host + 1]; ++slot) rows += choices_of[from][slot];
        return rows;
    };
    RowCounts returns;
    for (int m = 0; m < int(choices_of.size()); ++m) {
        returns.send.push_back(m == member ? 0 : sum(std::size_t(m), member));
        returns.recv.push_back(m == member ? 0 : sum(std::size_t(member), m));
    }
    return returns;
}

}  // namespace

ChoiceCounts count_choices(const Routing& routing, const PlanScope& scope) {
    const Placement& placement = *scope.placement;
    const ExpertSlots slots(placement, scope.layer);
    const auto experts = routing.experts.host();
    const auto kept = routing.kept.host();
    ChoiceCounts counts;
    counts.first_slot = first_slots(placement, scope.layer);
    counts.choices.resize(std::size_t(counts.slots()));
    counts.slot_of.resize(experts.size());
    std::vector<int> last_token(std::size_t(placement.members()), -1);  // that each member has been given
    std::size_t i = 0;
    for (int t = 0; t < routing.tokens; ++t)
        for (int j = 0; j < routing.top_k; ++j, ++i) {
            counts.slot_of[i] = -1;
            if (experts[i] < 0 || !kept[i]) continue;
            if (experts[i] >= placement.experts())
                throw Error(concat("plan of layer ", scope.layer, ": token ", t, " chose expert ", experts[i],
                                   ", expected one of ", placement.experts()));
            const int slot = slots.slot_for(experts[i], scope.first_token + t);
            counts.slot_of[i] = slot;
            ++counts.choices[std::size_t(slot)];
            counts.rows_delivered += std::exchange(last_token[std::size_t(slots.member_of(slot))], t) != t;
        }
    return counts;
}

DispatchPlan plan_from_counts(const ChoiceCounts& mine, std::span<const int* const> choices_of, const Routing& routing,
                              const PlanScope& scope) {
    DispatchPlan plan;
    plan.layer = scope.layer;
    plan.member = scope.member;
    plan.order = scope.order;
    plan.tokens = routing.tokens;
    plan.top_k = routing.top_k;
    plan.rows_delivered = mine.rows_delivered;
    plan.returns = returns_of(mine, choices_of, scope.member);
    plan.served_for = served_for(mine, choices_of, scope.member);
    const SlotSums sums(choices_of, std::size_t(mine.slots()), scope.member);
    std::vector<int> next = first_rows(mine, sums, plan);

    std::vector<int> member_of;
    for (int m = 0; m + 1 < int(mine.first_slot.size()); ++m) member_of.resize(std::size_t(mine.first_slot[m + 1]), m);
    Device& device = routing.weights.device();
    plan.choice_host = Array<int>(device, mine.slot_of.size());
    plan.choice_row = Array<int>(device, mine.slot_of.size());
    const auto hosts = plan.choice_host.host(), rows = plan.choice_row.host();
    for (std::size_t i = 0; i < mine.slot_of.size(); ++i) {
        const int slot = mine.slot_of[i];
        hosts[i] = slot < 0 ? -1 : member_of[std::size_t(slot)];
        rows[i] = slot < 0 ? -1 : next[std::size_t(slot)]++;
    }
    plan.choices = std::accumulate(mine.choices.begin(), mine.choices.end(), 0);
    plan.choice_weights = Matrix(device, routing.weights.dtype(), plan.tokens, plan.top_k);
    device.copy(routing.weights.view().data(), plan.choice_weights.view().data(), routing.weights.view().bytes(),
                device.stream());
    return plan;
}

}  // namespace expar
