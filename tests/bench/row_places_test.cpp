#include "expar/bench/row_places.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <set>

namespace expar {
namespace {

// Rank 0 has tokens {0, 2}, {2, 1}; rank 1 has {1, none}; rank 2 has none.
const std::vector<RankRouting> small = {{2, 2, {0, 2, 2, 1}, {1, 1, 1, 1}}, {1, 2, {1, -1}, {1, 1}}, {0, 2, {}, {}}};
// Expert 2 before 0 on rank 0, 1 on rank 1, 3 on rank 2.
const Placement placement(4, {{{2, 0}, {1}, {3}}});
const RoutedLayer routed{small, &placement, 0};

TEST(RowPlaces, RowsLieBySlotSourceTokenAndChoice) {
    const RowPlaces first = row_places(routed, 0), second = row_places(routed, 1), third = row_places(routed, 2);
    EXPECT_EQ(first.rows_at, (std::vector{3, 2, 0}));
    EXPECT_EQ(first.host, (std::vector{0, 0, 0, 1}));
    EXPECT_EQ(first.row, (std::vector{2, 0, 1, 0}));
    EXPECT_EQ(second.host, (std::vector{1, -1}));
    EXPECT_EQ(second.row, (std::vector{1, -1}));
    EXPECT_TRUE(third.row.empty());
}

TEST(RowPlaces, NumbersCountOnceForEachRankAndForEachChoice) {
    const RowNumbers first = row_numbers(routed, 0), second = row_numbers(routed, 1), third = row_numbers(routed, 2);
    EXPECT_EQ(first.choices.send, (std::vector{0, 1, 0}));
    EXPECT_EQ(first.distinct.send, (std::vector{0, 1, 0}));
    EXPECT_EQ(first.kept, 4);
    EXPECT_EQ(first.spread, 3);
    EXPECT_EQ(first.served, 3);
    EXPECT_EQ(first.delivered, 2);
    EXPECT_EQ(second.choices.recv, (std::vector{1, 0, 0}));
    EXPECT_EQ(second.served, 2);
    EXPECT_EQ(third.tokens + third.kept + third.served, 0);
}

// Every row of every host is the place of one choice, and both sides count alike.
TEST(RowPlaces, EveryRowHasOneChoice) {
    constexpr int ranks = 3, experts = 7;
    const auto workload = make_workload("zipf:1.2", {ranks, 40, experts, 3}, 5);
    const auto all = workload->routings(0);
    const Placement linear = linear_placement(1, experts, ranks);
    const RoutedLayer layer{all, &linear, 0};
    std::set<std::pair<int, int>> seen;
    std::vector<RowNumbers> numbers;
    for (int rank = 0; rank < ranks; ++rank) {
        const RowPlaces places = row_places(layer, rank);
        for (std::size_t i = 0; i < places.host.size(); ++i)
            EXPECT_TRUE(places.row[i] >= 0 && places.row[i] < places.rows_at[places.host[i]] &&
                        seen.emplace(places.host[i], places.row[i]).second);
        numbers.push_back(row_numbers(layer, rank));
        EXPECT_EQ(numbers.back().served, places.rows_at[rank]);
    }
    EXPECT_EQ(seen.size(), 40U * ranks * 3);
    for (int from = 0; from < ranks; ++from)
        for (int to = 0; to < ranks; ++to) {
            EXPECT_EQ(numbers[from].distinct.send[to], numbers[to].distinct.recv[from]);
            EXPECT_EQ(numbers[from].choices.send[to], numbers[to].choices.recv[from]);
            EXPECT_LE(numbers[from].distinct.send[to], numbers[from].choices.send[to]);
        }
}

}  // namespace
}  // namespace expar
