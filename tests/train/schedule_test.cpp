#include "expar/train/schedule.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

TEST(Schedule, WarmsUpThenFollowsACosineThenStays) {
    const TrainOptions options{
        .steps = 1000, .schedule_steps = 24, .warmup_steps = 4, .learning_rate = 0.8, .final_fraction = 0.25};
    EXPECT_DOUBLE_EQ(learning_rate_at(1, options), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate_at(3, options), 0.6);
    EXPECT_DOUBLE_EQ(learning_rate_at(4, options), 0.8);
    EXPECT_NEAR(learning_rate_at(9, options), 0.2 + 0.6 * (1 + 0.70710678118654752) / 2, 1e-15);
    EXPECT_NEAR(learning_rate_at(14, options), 0.5, 1e-15);  // half of the way: the middle of 0.8 and 0.2
    EXPECT_DOUBLE_EQ(learning_rate_at(24, options), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate_at(25, options), 0.2);
    EXPECT_DOUBLE_EQ(learning_rate_at(1000, options), 0.2);
}

TEST(Schedule, EndsWithTheRunUnlessToldOtherwise) {
    const TrainOptions options{.steps = 10, .warmup_steps = 0, .learning_rate = 1, .final_fraction = 0};
    EXPECT_GT(learning_rate_at(1, options), 0.97);
    EXPECT_NEAR(learning_rate_at(5, options), 0.5, 1e-15);
    EXPECT_EQ(learning_rate_at(10, options), 0);
}

TEST(Schedule, WarmsUpToTheEndOfARunThatIsShorter) {
    const TrainOptions options{.steps = 5, .warmup_steps = 20, .learning_rate = 1};
    EXPECT_DOUBLE_EQ(learning_rate_at(5, options), 0.25);
    EXPECT_DOUBLE_EQ(learning_rate_at(20, options), 1);
    EXPECT_DOUBLE_EQ(learning_rate_at(21, options), 0.1);
}

}  // namespace
}  // namespace expar
