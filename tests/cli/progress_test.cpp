#include "progress.hpp"

#include <gtest/gtest.h>

namespace expar::cli {
namespace {

TEST(Progress, GroupsDigitsByThree) {
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(with_commas(1000), "1,000");
    EXPECT_EQ(with_commas(1234567), "1,234,567");
    EXPECT_EQ(with_commas(-123456), "-123,456");
}

TEST(Progress, TellsTimeAsAClockDoes) {
    EXPECT_EQ(clock_text(0.4), "0:00");
    EXPECT_EQ(clock_text(59.6), "1:00");
    EXPECT_EQ(clock_text(125), "2:05");
    EXPECT_EQ(clock_text(3599.6), "1:00:00");
    EXPECT_EQ(clock_text(90061), "25:01:01");
}

TEST(Progress, DrawsABarOfOneWidth) {
    EXPECT_EQ(bar_text(0, 4), "[>   ]");
    EXPECT_EQ(bar_text(0.5, 4), "[==> ]");
    EXPECT_EQ(bar_text(0.99, 4), "[===>]");
    EXPECT_EQ(bar_text(1, 4), "[====]");
    EXPECT_EQ(bar_text(1.5, 4), "[====]");
}

// Ten steps of a second, then very many of three: what is left is judged by those.
TEST(Progress, ExpectsTheStepsToComeToTakeWhatTheLastOnesTook) {
    TimeLeft left;
    for (int step = 0; step < 10; ++step) left.add(1);
    EXPECT_DOUBLE_EQ(left.seconds(7), 7);
    left.add(3);
    EXPECT_GT(left.seconds(1), 1.1);
    for (int step = 0; step < 500; ++step) left.add(3);
    EXPECT_NEAR(left.seconds(10), 30, 0.01);
    EXPECT_EQ(left.seconds(0), 0);
}

}  // namespace
}  // namespace expar::cli
