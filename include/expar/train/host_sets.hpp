#pragma once

#include <vector>

#include "expar/comm/layout.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// Which ranks hold the same blocks and share their gradients. A value; the same on every rank.
///
/// Set 0 is all ranks: they hold every dense and router block. An expert's set is its hosts in every EP group: without
/// copies the ranks of one place in their groups, with copies any set at all.
class HostSets {
public:
    HostSets(const Placement& placement, const Layout& layout);

    [[nodiscard]] int count() const { return int(sets_.size()); }
    [[nodiscard]] const std::vector<int>& ranks(int set) const { return sets_[set]; }  ///< ascending
    [[nodiscard]] int set_of(const BlockSpec& spec) const;

    /// The sets of at least two ranks, cut into rounds of sets that have no rank in common: those of a round can be
    /// formed by one split.
    [[nodiscard]] std::vector<std::vector<int>> rounds() const;

private:
    std::vector<std::vector<int>> sets_;        // distinct, by first use
    std::vector<std::vector<int>> expert_set_;  // [layers][experts]
};

}  // namespace expar
