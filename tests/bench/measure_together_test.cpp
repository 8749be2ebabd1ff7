#include "expar/bench/measure_together.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

namespace expar {
namespace {

TEST(MeasureTogether, EveryValueIsTheSlowestRanks) {
    const Communicator world(MPI_COMM_WORLD);
    int calls = 0;
    const std::vector<Turn> turns = {{1, [&](std::span<double> seconds) { seconds[0] = world.rank() + ++calls; }},
                                     {2, [&](std::span<double> seconds) {
                                          seconds[0] = -world.rank();
                                          seconds[1] = world.rank() == 0 ? 7 : 0;
                                      }}};
    const auto values = measure_together(turns, {.patience = {.seconds = 0, .at_least = 3}, .warm_up = 2}, world);
    const double last = world.size() - 1;
    EXPECT_EQ(values, (std::vector<std::vector<double>>{{last + 3, last + 4, last + 5}, {0, 0, 0}, {7, 7, 7}}));
}

// Ranks whose clocks say different things must stop in the same round, or they would wait for each other for ever.
TEST(MeasureTogether, RanksStopTogether) {
    const Communicator world(MPI_COMM_WORLD);
    int rounds = 0;
    const std::vector<Turn> turns = {{1, [&](std::span<double> seconds) {
                                          std::this_thread::sleep_for(std::chrono::milliseconds(world.rank()));
                                          seconds[0] = ++rounds;  // never settles
                                      }}};
    const auto values = measure_together(turns, {.patience = {.seconds = 0.02, .at_least = 2}}, world);
    const std::vector<int> all = world.all_gather(std::span(&rounds, 1), {"test"});
    EXPECT_EQ(std::set(all.begin(), all.end()).size(), 1U);
    EXPECT_EQ(values[0].size(), std::size_t(rounds - 1));
}

TEST(MeasureTogether, OrdersDifferBetweenRoundsAndHaveEverybody) {
    std::set<std::vector<std::size_t>> orders;
    for (std::uint32_t round = 0; round < 20; ++round) {
        std::vector<std::size_t> order = shuffled_order(5, 3, round);
        EXPECT_EQ(order, shuffled_order(5, 3, round));
        orders.insert(order);
        std::ranges::sort(order);
        EXPECT_EQ(order, (std::vector<std::size_t>{0, 1, 2, 3, 4}));
    }
    EXPECT_GT(orders.size(), 10U);
}

TEST(MeasureTogether, TimeBeginsWhenAllAreThere) {
    const Communicator world(MPI_COMM_WORLD);
    if (world.rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(300));
    EXPECT_LT(seconds_together(world, [] {}), 0.2);
}

}  // namespace
}  // namespace expar
