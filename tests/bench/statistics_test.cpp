#include "expar/bench/statistics.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <string>

namespace expar {
namespace {

TEST(Statistics, MedianIsTheMiddleOrBetweenTheMiddleTwo) {
    EXPECT_EQ(spread_of({3, 1, 9}).median, 3);
    EXPECT_EQ(spread_of({3, 1, 9, 5}).median, 4);
    EXPECT_EQ(spread_of({3, 1, 9, 5}).min, 1);
    EXPECT_EQ(spread_of({3, 1, 9, 5}).max, 9);
}

// Of 100 sorted values, the 41st and the 60th hold the median with 95 %: 50 - 0.98 · 10 = 40 below.
TEST(Statistics, TheMedianLiesWithinCountedNeighbours) {
    std::vector<double> values(100);
    std::iota(values.rbegin(), values.rend(), 1);
    const Interval within = median_within(values);
    EXPECT_EQ(within.from, 41);
    EXPECT_EQ(within.to, 60);
    const Interval few = median_within({7, 5, 6});
    EXPECT_EQ(few.from, 5);
    EXPECT_EQ(few.to, 7);
}

TEST(Statistics, KindsAreMeasuredInTurnAndTheFirstRoundIsNotCounted) {
    std::string order;
    const std::vector<std::function<double()>> kinds = {[&] { return order += 'a', double(order.size()); },
                                                        [&] { return order += 'b', double(order.size()); }};
    const auto values = measure_in_turn(kinds, {.seconds = 0, .at_least = 3});
    EXPECT_EQ(order, "abababab");
    EXPECT_EQ(values, (std::vector<std::vector<double>>{{3, 5, 7}, {4, 6, 8}}));
}

TEST(Statistics, MeasuringEndsWhenEveryMedianIsKnownWellEnough) {
    int calls = 0;
    const auto same = [] { return 1.0; };
    // Values that spread by 10 % around their median, so that it takes many to know it to 2 %.
    const auto spread = [&calls] { return 1 + 0.01 * (calls++ % 11); };
    const std::vector<std::function<double()>> steady = {same}, both = {same, spread};
    EXPECT_EQ(measure_in_turn(steady, {.seconds = 60})[0].size(), 5U);
    const auto values = measure_in_turn(both, {.seconds = 60});
    EXPECT_GT(values[1].size(), 20U);
    EXPECT_LT(values[1].size(), 2000U);
    EXPECT_EQ(measure_in_turn(both, {.seconds = 60, .relative_width = 0, .at_most = 40})[1].size(), 40U);
}

}  // namespace
}  // namespace expar
