#include "expar/moe/balance.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

RouterStatistics statistics(std::int64_t tokens, std::vector<std::int64_t> choices, std::vector<double> probabilities) {
    RouterStatistics result(int(choices.size()));
    result.tokens = tokens;
    result.choices = std::move(choices);
    result.probabilities = std::move(probabilities);
    return result;
}

TEST(Balance, IsOneWhenBalancedAndExpertsOverTopKInCollapse) {
    EXPECT_DOUBLE_EQ(balance_loss(statistics(8, {4, 4, 4, 4}, {2, 2, 2, 2}), 2), 1);
    // Every token chooses experts 0 and 1, and gives expert 0 all of its probability.
    EXPECT_DOUBLE_EQ(balance_loss(statistics(8, {8, 8, 0, 0}, {8, 0, 0, 0}), 2), 2);
    EXPECT_DOUBLE_EQ(balance_loss(statistics(8, {8, 0, 0, 0}, {8, 0, 0, 0}), 1), 4);
    EXPECT_EQ(balance_loss(statistics(0, {0, 0}, {0, 0}), 1), 0);
}

// The gradient with respect to one token's probability is the difference that moving it makes to the loss's share.
TEST(Balance, GradientIsTheSlopeOfTheScaledLoss) {
    const double step = 1e-3;
    const auto at = [&](double change) {
        return 0.01 * 8. / 24 * balance_loss(statistics(8, {9, 3, 2, 2}, {4 + change, 2, 1, 1}), 2);
    };
    const auto gradient = balance_gradient(statistics(8, {9, 3, 2, 2}, {4, 2, 1, 1}), 2, 0.01, 24);
    EXPECT_NEAR(gradient[0], (at(step) - at(-step)) / (2 * step), 1e-15);
}

TEST(Balance, SumsOverRanksExactly) {
    const Communicator world(MPI_COMM_WORLD);
    auto own = statistics(world.rank() + 1, {world.rank(), 1}, {0.5, 0.25});
    const auto all = sum_over_ranks({own, own}, world);
    const int n = world.size();
    ASSERT_EQ(all.size(), 2u);
    EXPECT_EQ(all[1].tokens, n * (n + 1) / 2);
    EXPECT_EQ(all[1].choices, (std::vector<std::int64_t>{n * (n - 1) / 2, n}));
    EXPECT_EQ(all[1].probabilities, (std::vector{0.5 * n, 0.25 * n}));
}

TEST(Balance, LoadIsTheBusiestOverTheMean) {
    EXPECT_DOUBLE_EQ(statistics(4, {4, 2, 1, 1}, {0, 0, 0, 0}).max_over_mean(), 2);
    EXPECT_DOUBLE_EQ(statistics(0, {0, 0}, {0, 0}).max_over_mean(), 1);
}

}  // namespace
}  // namespace expar
