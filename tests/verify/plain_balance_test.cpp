#include "expar/verify/plain_balance.hpp"

#include <gtest/gtest.h>

#include "verify/plain_support.hpp"

namespace expar {
namespace {

ModelOptions four_experts(int top_k) {
    ModelOptions options;
    options.experts = 4;
    options.top_k = top_k;
    return options;
}

PlainRouting routing_of(std::vector<double> logits, std::vector<int> choices) {
    PlainRouting routing;
    routing.logits = std::move(logits);
    routing.choices = std::move(choices);
    return routing;
}

TEST(PlainBalance, ItIsOneWhenBalanced) {
    const auto routing = routing_of(std::vector<double>(2 * 4), {0, 1, 2, 3});

    EXPECT_DOUBLE_EQ(plain_balance_sum(four_experts(2), routing, std::vector{0, 2}) / 2, 1);
}

// Every token gives all its probability to the same k experts: f = 1/k and P = 1/k there.
TEST(PlainBalance, ItIsExpertsOverChoicesInCollapse) {
    const auto two = routing_of({100, 100, 0, 0, 100, 100, 0, 0, 100, 100, 0, 0}, {0, 1, 0, 1, 0, 1});
    EXPECT_NEAR(plain_balance_sum(four_experts(2), two, std::vector{0, 3}) / 3, 2, 1e-12);

    const auto one = routing_of({0, 0, 100, 0, 0, 0, 100, 0}, {2, 2});
    EXPECT_NEAR(plain_balance_sum(four_experts(1), one, std::vector{0, 2}) / 2, 4, 1e-12);
}

// Each rank sends all its tokens to one expert of its own: balanced together, collapsed alone.
TEST(PlainBalance, TheScopeOfARankSeesItsOwnTokens) {
    auto options = four_experts(1);
    const auto routing = routing_of({100, 0, 0, 0, 0, 100, 0, 0, 0, 0, 100, 0, 0, 0, 0, 100}, {0, 1, 2, 3});
    const std::vector<int> ranks = {0, 1, 2, 2, 3, 4};
    EXPECT_NEAR(plain_balance_sum(options, routing, ranks) / 4, 1, 1e-12);

    options.balance_scope = "rank";
    EXPECT_NEAR(plain_balance_sum(options, routing, ranks) / 4, 4, 1e-12);
}

TEST(PlainBalance, TheZLossIsTheSquareOfTheLogSumExp) {
    const auto routing = routing_of({0, 0, 0, 0, 1, 1, 1, 1}, {0, 1});
    const double log_four = std::log(4.0);

    EXPECT_NEAR(plain_z_sum(four_experts(1), routing), log_four * log_four + (1 + log_four) * (1 + log_four), 1e-12);
}

TEST(PlainBalance, TheGradientsMatchDifferencesInEveryScope) {
    auto options = four_experts(2);
    options.balance_coefficient = 0.7;
    options.z_coefficient = 0.3;
    const auto routing = routing_of(random_numbers(5 * 4, 1), {0, 1, 0, 2, 3, 0, 1, 0, 2, 3});
    const std::vector<int> ranks = {0, 2, 2, 5};
    for (const std::string scope : {"all", "rank"}) {
        options.balance_scope = scope;
        const auto d_logits = plain_losses_backward(options, routing, ranks, 11);
        for (std::size_t i = 0; i < d_logits.size(); ++i) {
            const auto moved = [&](double by) {
                auto other = routing;
                other.logits[i] += by;
                return (0.7 * plain_balance_sum(options, other, ranks) + 0.3 * plain_z_sum(options, other)) / 11;
            };
            EXPECT_NEAR(d_logits[i], numeric_derivative(moved), 1e-10) << scope;
        }
    }
}

}  // namespace
}  // namespace expar
