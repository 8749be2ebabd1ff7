#include "expar/moe/placement.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace expar {
namespace {

std::vector<int> sizes_of(const Placement& placement, int layer) {
    std::vector<int> sizes;
    for (int m = 0; m < placement.members(); ++m) sizes.push_back(int(placement.experts_on(layer, m).size()));
    return sizes;
}

TEST(Placement, SharesExpertsThatDoNotDivideEvenly) {
    EXPECT_EQ(sizes_of(linear_placement(1, 6, 4), 0), (std::vector{2, 2, 1, 1}));
    EXPECT_EQ(sizes_of(linear_placement(1, 2, 4), 0), (std::vector{1, 1, 0, 0}));
}

TEST(Placement, ShufflesEveryLayerDifferentlyAndHostsEveryExpertOnce) {
    const Placement placement = shuffled_placement(2, 32, 5, 3);
    for (int layer = 0; layer < 2; ++layer) {
        std::multiset<int> hosted;
        for (int m = 0; m < 5; ++m)
            for (const int expert : placement.experts_on(layer, m)) hosted.insert(expert);
        std::multiset<int> expected;
        for (int e = 0; e < 32; ++e) expected.insert(e);
        EXPECT_EQ(hosted, expected);
    }
    const auto first = placement.experts_on(0, 0), second = placement.experts_on(1, 0);
    EXPECT_FALSE(std::ranges::equal(first, second));
}

TEST(Placement, SpreadsTokensOverTheCopiesOfAnExpert) {
    const Placement placement(2, {{{0, 1}, {1}, {1, 0}}});
    EXPECT_TRUE(std::ranges::equal(placement.hosts_of(0, 1), std::vector{0, 1, 2}));
    std::set<int> hosts;
    for (int token = 0; token < 3; ++token) hosts.insert(placement.host_for(0, 1, token));
    EXPECT_EQ(hosts.size(), 3u);
}

void expect_refused(std::vector<std::vector<std::vector<int>>> slots, const std::string& words) {
    try {
        Placement(3, std::move(slots));
        FAIL() << "accepted; expected: " << words;
    } catch (const UserError& error) {
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
}

TEST(Placement, SaysWhatIsWrongWithIt) {
    expect_refused({{{0, 1}, {1}}}, "expert 2 is hosted nowhere");
    expect_refused({{{0, 1, 0}, {2}}}, "member 0: expert 0 is there twice");
    expect_refused({{{0, 1}, {2, 3}}}, "expert 3 is not one of 3");
    expect_refused({{{0, 1}, {2}}, {{0, 1, 2}}}, "layer 1 has 1 members");
}

}  // namespace
}  // namespace expar
