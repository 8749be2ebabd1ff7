#include "expar/train/host_sets.hpp"

#include <gtest/gtest.h>

#include <set>

#include "held_blocks.hpp"

namespace expar {
namespace {

BlockSpec expert_of(int layer, int expert) {
    return {Role::expert, layer, expert, {}};
}

TEST(HostSets, JoinsTheRanksOfOnePlaceInTheirGroups) {
    const HostSets sets(linear_placement(2, 4, 2), Layout(6, 2));
    EXPECT_EQ(sets.count(), 3);
    EXPECT_EQ(sets.ranks(sets.set_of({Role::dense, -1, -1, {}})), (std::vector{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(sets.ranks(sets.set_of({Role::router, 1, -1, {}})), (std::vector{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(sets.ranks(sets.set_of(expert_of(0, 1))), (std::vector{0, 2, 4}));
    EXPECT_EQ(sets.ranks(sets.set_of(expert_of(1, 2))), (std::vector{1, 3, 5}));
    // All ranks, then both halves at once.
    EXPECT_EQ(sets.rounds(), (std::vector<std::vector<int>>{{0}, {1, 2}}));
}

TEST(HostSets, LeavesOutSetsOfOneRank) {
    const HostSets sets(linear_placement(1, 4, 4), Layout(4, 4));
    EXPECT_EQ(sets.ranks(sets.set_of(expert_of(0, 3))), (std::vector{3}));
    EXPECT_EQ(sets.rounds(), (std::vector<std::vector<int>>{{0}}));
    EXPECT_TRUE(HostSets(linear_placement(1, 4, 1), Layout(1, 1)).rounds().empty());
}

TEST(HostSets, CutsAnyCopiesIntoRoundsThatShareNoRank) {
    for (const auto& model : hosted_models(12, 2, 9)) {
        const HostSets sets(model.placement, model.layout);
        std::set<int> seen;
        for (const auto& round : sets.rounds()) {
            std::set<int> ranks;
            std::size_t members = 0;
            for (const int set : round) {
                ranks.insert(sets.ranks(set).begin(), sets.ranks(set).end());
                members += sets.ranks(set).size();
                EXPECT_TRUE(seen.insert(set).second) << model.name;
            }
            EXPECT_EQ(ranks.size(), members) << model.name;
        }
        for (int e = 0; e < 9; ++e)
            EXPECT_EQ(sets.ranks(sets.set_of(expert_of(1, e))), hosts_of(model, expert_of(1, e))) << model.name;
    }
}

}  // namespace
}  // namespace expar
