#include "expar/comm/traffic.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"

namespace expar {
namespace {

using Counts = std::vector<std::int64_t>;

TEST(TrafficTest, AddsUpPerPeer) {
    Traffic traffic(3);
    traffic.count(1, 4, 100);
    traffic.count(1, 2, 100);
    traffic.count(2, 1, 8);
    EXPECT_EQ(traffic.rows_to, (Counts{0, 6, 1}));
    EXPECT_EQ(traffic.bytes_to, (Counts{0, 600, 8}));
    EXPECT_EQ(traffic.messages_to, (Counts{0, 2, 1}));
    EXPECT_EQ(traffic.total_rows(), 7);
    EXPECT_EQ(traffic.total_bytes(), 608);
}

TEST(TrafficTest, CountsMoreBytesThanAnIntHolds) {
    Traffic traffic(1);
    traffic.count(0, 2'000'000'000, 16'384);
    EXPECT_EQ(traffic.total_bytes(), 32'768'000'000'000);
}

TEST(TrafficTest, CallsWithoutAByteAreNoMessages) {
    Traffic traffic(1);
    traffic.count(0, 0, 100);
    traffic.count(0, 5, 0);
    EXPECT_EQ(traffic.messages_to, Counts{0});
}

TEST(TrafficTest, WhatIsSaidBesideRowsIsBytesAndAMessage) {
    Traffic traffic(2);
    traffic.count_beside(1, 12);
    traffic.count_beside(1, 0);
    EXPECT_EQ(traffic.bytes_to, (Counts{0, 12}));
    EXPECT_EQ(traffic.messages_to, (Counts{0, 1}));
    EXPECT_EQ(traffic.total_rows(), 0);
}

TEST(TrafficTest, SumsWithThatOfTheSameRanksOnly) {
    Traffic sum(2), other(2);
    other.count(1, 3, 10);
    sum += other;
    sum += other;
    EXPECT_EQ(sum.total_bytes(), 60);
    EXPECT_EQ(sum.messages_to, (Counts{0, 2}));
    EXPECT_THROW(sum += Traffic(3), Error);
}

}  // namespace
}  // namespace expar
