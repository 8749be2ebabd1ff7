#include "expar/bench/skew.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace expar {
namespace {

RankRouting chosen(int top_k, const std::vector<int>& experts) {
    return {int(experts.size()) / top_k, top_k, experts, std::vector<float>(experts.size(), 1)};
}

// Rank r hosts experts 2r and 2r + 1; ranks 0 and 1 are node 0. Every token and where its choices go is written out.
TEST(Skew, CountsRowsThatLeaveRanksAndNodes) {
    const Placement placement = linear_placement(1, 8, 4);
    const std::vector<RankRouting> all = {
        chosen(4, {0, 1, 2, 4,     // rank 0: here twice, rank 1, rank 2
                   4, 5, 6, 7}),   // rank 0: rank 2 twice, rank 3 twice
        chosen(4, {2, 3, 0, 1}),   // rank 1: here twice, rank 0 twice
        chosen(4, {}),             // rank 2 has no tokens
        chosen(4, {6, 0, -1, 3}),  // rank 3: here, rank 0, nothing, rank 1
    };
    const MovedRows moved = moved_rows({all, &placement, 0}, topology_of(4, 2));
    EXPECT_EQ(moved.total,
              (RowCount{.x0 = 1 + 4 + 2, .x1 = 1 + 2 + 2, .x2 = 1 + 1 + 1, .y0 = 2 + 4 + 2 + 2, .y1 = 2 + 2 + 1 + 2}));
    // Out of node 0: 5, 3, 2; out of rank 0: 6, 4. Nobody receives as many: rank 2 gets 3 and 2, rank 0 3 and 2.
    EXPECT_EQ(moved.busiest, (RowCount{.x0 = 5, .x1 = 3, .x2 = 2, .y0 = 6, .y1 = 4}));

    const MovedRows together = moved_rows({all, &placement, 0}, topology_of(4, 4));
    EXPECT_EQ(together.total.x0 + together.total.x1 + together.total.x2, 0);
    EXPECT_EQ(together.total.y1, moved.total.y1);
}

TEST(Skew, TheBusiestMayBeTheOneThatReceives) {
    const Placement placement = linear_placement(1, 4, 4);
    const std::vector<RankRouting> all = {chosen(1, {3}), chosen(1, {3}), chosen(1, {3}), chosen(1, {})};
    const MovedRows moved = moved_rows({all, &placement, 0}, topology_of(4, 1));
    EXPECT_EQ(moved.total.y0, 3);
    EXPECT_EQ(moved.busiest, (RowCount{3, 3, 3, 3, 3}));
}

// A copy serves tokens in turn, by their place among those of all ranks.
TEST(Skew, FollowsTheCopyThatServesAToken) {
    const Placement placement(2, {{{0, 1}, {0}}});
    const std::vector<RankRouting> all = {chosen(1, {0}), chosen(1, {0, 0})};
    // tokens 0, 1, 2: hosts 0, 1, 0; only the last, of rank 1, moves
    EXPECT_EQ(moved_rows({all, &placement, 0}, topology_of(2, 2)).total.y0, 1);
    const Skew skew = skew_of({all, &placement, 0});
    EXPECT_DOUBLE_EQ(skew.rank_max_over_mean, 4. / 3);
    EXPECT_DOUBLE_EQ(skew.expert_max_over_mean, 2);
    EXPECT_DOUBLE_EQ(skew.zero_fraction, 0.5);
}

TEST(Skew, GiniIsZeroWhenEvenAndNearsOneWhenOneHasAll) {
    EXPECT_EQ(gini_of(std::vector<std::int64_t>{5, 5, 5}), 0);
    EXPECT_EQ(gini_of(std::vector<std::int64_t>{0, 0, 0}), 0);
    EXPECT_DOUBLE_EQ(gini_of(std::vector<std::int64_t>{0, 8, 0, 0}), 0.75);
    // |1-2| + |1-3| + |2-3| twice: 8; of 2 · 3 · 6
    EXPECT_DOUBLE_EQ(gini_of(std::vector<std::int64_t>{3, 1, 2}), 8. / 36);
}

TEST(Skew, NoTokensAreEven) {
    const Placement placement = linear_placement(1, 4, 2);
    const std::vector<RankRouting> all = {chosen(2, {}), chosen(2, {})};
    const Skew skew = skew_of({all, &placement, 0});
    EXPECT_EQ(skew.rank_max_over_mean, 1);
    EXPECT_EQ(skew.expert_gini, 0);
    EXPECT_EQ(skew.zero_fraction, 1);
}

// The field's table for E = 256, k = 8: distinct ranks of 64, distinct nodes of 8.
TEST(Skew, UniformRoutingTouchesAsManyGroupsAsTheClosedFormSays) {
    EXPECT_NEAR(uniform_groups_touched(256, 8, 64), 7.676, 5e-4);
    EXPECT_NEAR(uniform_groups_touched(256, 8, 8), 5.295, 5e-4);
    EXPECT_EQ(uniform_groups_touched(8, 8, 4), 4);

    for (const auto& [experts, top_k, ranks, per_node] :
         {std::array{64, 8, 8, 2}, std::array{8, 2, 4, 2}, std::array{32, 4, 16, 4}}) {
        const WorkloadShape shape{.ranks = ranks, .tokens = 40000 / ranks, .experts = experts, .top_k = top_k};
        const auto all = make_workload("uniform", shape, 1)->routings(0);
        const Placement placement = linear_placement(1, experts, ranks);
        const MovedRows moved = moved_rows({all, &placement, 0}, topology_of(ranks, per_node));
        const int nodes = ranks / per_node;
        const double touched = uniform_groups_touched(experts, top_k, ranks);
        EXPECT_NEAR(double(moved.total.y0) / 40000, top_k * (1 - 1. / ranks), 0.02);
        EXPECT_NEAR(double(moved.total.y1) / 40000, touched * (1 - 1. / ranks), 0.02);
        EXPECT_NEAR(double(moved.total.x1) / 40000, touched * (1 - 1. / nodes), 0.02);
        EXPECT_NEAR(double(moved.total.x2) / 40000, uniform_groups_touched(experts, top_k, nodes) * (1 - 1. / nodes),
                    0.02);
        const Skew skew = skew_of({all, &placement, 0});
        EXPECT_LT(skew.rank_max_over_mean, 1.05);
        EXPECT_EQ(skew.zero_fraction, 0);
    }
}

TEST(Skew, RanksMustBeEquallyMany) {
    const Placement placement = linear_placement(1, 4, 2);
    const std::vector<RankRouting> all = {chosen(1, {0})};
    EXPECT_THROW((void)moved_rows({all, &placement, 0}, topology_of(2, 2)), Error);
}

}  // namespace
}  // namespace expar
