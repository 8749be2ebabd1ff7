#pragma once

#include <span>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {

inline constexpr int served_bits = 32;  ///< of a word of CarriedRows::served

/// Who passes rows on inside a node: for a source, the member that has its place there, so that a node's members share
/// the work.
class Forwarders {
public:
    explicit Forwarders(const PlanScope& scope);

    /// The members of a node, ascending.
    [[nodiscard]] const std::vector<int>& members_of(int node) const { return members_[std::size_t(node)]; }
    [[nodiscard]] int nodes() const { return int(members_.size()); }
    [[nodiscard]] int forwarder(int source, int node) const {
        const auto& members = members_of(node);
        return members[std::size_t(place_[std::size_t(source)]) % members.size()];
    }
    /// Of a row of CarriedRows::served: the same on all nodes.
    [[nodiscard]] int words() const;

private:
    std::vector<std::vector<int>> members_;  // [nodes]
    std::vector<int> place_;                 // [members], of each on its node
};

/// What a source carries, by who serves its choices.   member_of [T, k]
[[nodiscard]] CarriedRows carried_rows(std::span<const int> member_of, int top_k, const PlanScope& scope,
                                       Device& device);

/// What has arrived at a forwarder.
struct Arrivals {
    std::vector<int> rows_from;  ///< [members], carried rows of each, 0 from itself
    ConstRows served;            ///< of those from other nodes
};

/// Leads a plan's rows over forwarders. The plan is complete but for that, with choice_host. Throws Error, naming the
/// member, when what arrives does not fit what its headers ask for.
void add_forwarding(DispatchPlan& plan, CarriedRows carried, const Arrivals& arrivals, const PlanScope& scope);

}  // namespace expar
