#include "expar/comm/layout.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

TEST(LayoutTest, GroupsAreConsecutiveRanks) {
    const Layout layout(6, 3);
    EXPECT_EQ(layout.dp(), 2);
    EXPECT_EQ(layout.group_of(2), 0);
    EXPECT_EQ(layout.group_of(3), 1);
    EXPECT_EQ(layout.member_of(4), 1);
    EXPECT_EQ(layout.describe(), "EP=3 x DP=2");
}

TEST(LayoutTest, EveryRankIsOneMemberOfOneGroup) {
    for (int ranks = 1; ranks <= 12; ++ranks)
        for (int ep = 1; ep <= ranks; ++ep) {
            if (ranks % ep != 0) continue;
            const Layout layout(ranks, ep);
            EXPECT_EQ(layout.ep() * layout.dp(), ranks);
            for (int rank = 0; rank < ranks; ++rank) {
                EXPECT_EQ(layout.rank_of(layout.group_of(rank), layout.member_of(rank)), rank);
                EXPECT_LT(layout.group_of(rank), layout.dp());
                EXPECT_LT(layout.member_of(rank), layout.ep());
            }
        }
}

TEST(LayoutTest, RefusesWhatDoesNotDivideTheRanks) {
    for (const int ep : {-1, 0, 4, 5, 12}) EXPECT_THROW(Layout(6, ep), UserError) << ep;
    EXPECT_THROW(Layout(0, 1), UserError);
    try {
        const Layout layout(4, 3);
        FAIL() << "expected a UserError";
    } catch (const UserError& error) {
        EXPECT_STREQ(error.what(), "layout: ep is 3, expected a divisor of the 4 ranks");
    }
}

}  // namespace
}  // namespace expar
