#include "expar/bench/bound.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

constexpr Bandwidth bandwidth = {.read = 10, .write = 4, .copy = 8, .update = 16};

TEST(Bound, WhatIsUpdatedIsReadAndWritten) {
    const MemoryTraffic traffic = {.read = 3, .written = 5, .updated = 7};
    EXPECT_EQ(traffic.bytes(), 3 + 5 + 2 * 7);
}

// 40 read and 16 written are a copy of 16, both ways, and 24 read beside it.
TEST(Bound, PairsOfReadAndWrittenMoveAsACopyAndTheRestAlone) {
    EXPECT_DOUBLE_EQ(seconds_of(MemoryTraffic{.read = 40, .written = 16}, bandwidth), 32.0 / 8 + 24.0 / 10);
    EXPECT_DOUBLE_EQ(seconds_of(MemoryTraffic{.read = 16, .written = 40}, bandwidth), 32.0 / 8 + 24.0 / 4);
    EXPECT_DOUBLE_EQ(seconds_of(MemoryTraffic{.updated = 8}, bandwidth), 1);
}

TEST(Bound, RatesThatAreNotNeededMayBeUnknown) {
    EXPECT_DOUBLE_EQ(seconds_of(MemoryTraffic{.read = 40}, Bandwidth{.read = 10}), 4);
    EXPECT_EQ(seconds_of(MemoryTraffic{}, Bandwidth{}), 0);
}

TEST(Bound, BytesAndOperationsHaveABoundEach) {
    const Bound bound = bound_of({.read = 40}, 12, {bandwidth, 6});
    EXPECT_EQ(bound.memory_seconds, 4);
    EXPECT_EQ(bound.compute_seconds, 2);
    EXPECT_EQ(bound_of({.read = 40}, 0, {bandwidth, 0}).compute_seconds, 0);
}

TEST(Bound, TheLongerOfTheTwoBinds) {
    EXPECT_EQ((Bound{2, 1}.seconds()), 2);
    EXPECT_EQ((Bound{2, 1}.name()), "memory");
    EXPECT_EQ((Bound{1, 2}.seconds()), 2);
    EXPECT_EQ((Bound{1, 2}.name()), "compute");
}

}  // namespace
}  // namespace expar
