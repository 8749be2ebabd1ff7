#include "expar/verify/plain_router.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "verify/plain_support.hpp"

namespace expar {
namespace {

ModelOptions router(const std::string& convention, int experts, int top_k) {
    ModelOptions options;
    options.router = convention;
    options.experts = experts;
    options.top_k = top_k;
    return options;
}

TEST(PlainRouter, ChoicesFallInScoreAndTiesGoToTheLowestExpert) {
    const auto options = router("mixtral", 4, 3);

    EXPECT_EQ(plain_choose(options, std::vector<double>{1, 3, 2, 3, 0, 0, 0, 0}), (std::vector{1, 3, 2, 0, 1, 2}));
}

TEST(PlainRouter, TheShortfallIsWhatTheWorstChoiceLacks) {
    const auto options = router("mixtral", 4, 2);
    const std::vector<double> logits = {1, 2, 3, 4, 5, 5, 0, 0};

    EXPECT_EQ(plain_shortfall(options, logits, std::vector{3, 2, 0, 1}), 0);
    EXPECT_EQ(plain_shortfall(options, logits, std::vector{3, 2, 1, 0}), 0);  // a tie
    EXPECT_EQ(plain_shortfall(options, logits, std::vector{3, 1, 0, 1}), 1);
    EXPECT_EQ(plain_shortfall(options, logits, std::vector{2, 3, 0, 1}), 1);  // in the wrong order
    EXPECT_EQ(plain_shortfall(options, logits, std::vector{3, -1, 0, 2}), 5);
}

TEST(PlainRouter, AnExpertChosenTwiceIsAnError) {
    const auto options = router("mixtral", 2, 2);

    EXPECT_THROW((void)plain_shortfall(options, std::vector<double>{1, 0}, std::vector{0, 0}), Error);
    EXPECT_THROW((void)plain_shortfall(options, std::vector<double>{1, 0}, std::vector{0, 2}), Error);
}

// Probabilities 0.5, 0.3, 0.2.
TEST(PlainRouter, WeightsFollowTheConvention) {
    const std::vector<double> logits = {std::log(5.0), std::log(3.0), std::log(2.0)};
    const auto weights = [&](const std::string& convention, std::vector<int> choices) {
        const auto options = router(convention, 3, int(choices.size()));
        return plain_route(options, logits, choices, std::vector{0, 1}).weights;
    };
    EXPECT_NEAR(weights("mixtral", {0, 1})[1], 0.375, 1e-15);
    EXPECT_NEAR(weights("gpt-oss", {0, 1})[0], 0.625, 1e-15);
    EXPECT_NEAR(weights("olmoe", {0, 1})[1], 0.3, 1e-15);
    EXPECT_NEAR(weights("switch", {0})[0], 0.5, 1e-15);
    EXPECT_EQ(weights("mixtral", {0})[0], 1);
}

TEST(PlainRouter, ATopOneWeightThatIsNormalisedTeachesTheRouterNothing) {
    const std::vector<double> logits = {1, 2}, d_weights = {3};
    const std::vector<int> choices = {1}, ranks = {0, 1};
    for (const std::string convention : {"mixtral", "gpt-oss", "switch", "olmoe"}) {
        const auto options = router(convention, 2, 1);
        const auto d_logits = plain_route_backward(options, plain_route(options, logits, choices, ranks), d_weights);
        if (convention == "mixtral" || convention == "gpt-oss")
            EXPECT_EQ(d_logits, (std::vector<double>{0, 0})) << convention;
        else
            EXPECT_GT(d_logits[1], 0.5) << convention;
    }
}

TEST(PlainRouter, TheGradientOfTheWeightsMatchesDifferences) {
    const std::vector<int> choices = {3, 0, 1, 2}, ranks = {0, 2};
    const auto logits = random_numbers(8, 1), d_weights = random_numbers(4, 2);
    for (const std::string convention : {"mixtral", "gpt-oss", "olmoe"}) {
        const auto options = router(convention, 4, 2);
        const auto d_logits = plain_route_backward(options, plain_route(options, logits, choices, ranks), d_weights);
        for (std::size_t i = 0; i < logits.size(); ++i) {
            const auto moved = [&](double by) {
                auto other = logits;
                other[i] += by;
                return plain_dot(plain_route(options, other, choices, ranks).weights, d_weights);
            };
            EXPECT_NEAR(d_logits[i], numeric_derivative(moved), 1e-10) << convention;
        }
    }
}

// Six tokens choose expert 0 first; 1 and 2 in turn second. ceil(0.5 * 2 * 6 / 3) = 2 places each.
TEST(PlainRouter, CapacityFillsInTokenOrder) {
    auto options = router("mixtral", 3, 2);
    options.capacity_factor = 0.5;
    const std::vector<double> logits(6 * 3);
    const std::vector<int> choices = {0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2};

    const auto routing = plain_route(options, logits, choices, std::vector{0, 2, 2, 6});

    EXPECT_EQ(routing.kept, (std::vector<unsigned char>{1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0}));
    EXPECT_EQ(routing.dropped, 6);
    EXPECT_EQ(routing.weights, std::vector<double>(12, 0.5));
}

// The same with scope rank: 2 tokens have ceil(2/3) = 1 place per expert, none 0, 4 ceil(4/3) = 2.
TEST(PlainRouter, CapacityOfARankCountsItsOwnTokens) {
    auto options = router("mixtral", 3, 2);
    options.capacity_factor = 0.5;
    options.capacity_scope = "rank";
    const std::vector<double> logits(6 * 3);
    const std::vector<int> choices = {0, 1, 0, 2, 0, 1, 0, 2, 0, 1, 0, 2};

    const auto routing = plain_route(options, logits, choices, std::vector{0, 2, 2, 6});

    EXPECT_EQ(routing.kept, (std::vector<unsigned char>{1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1}));
    EXPECT_EQ(routing.dropped, 3);
}

TEST(PlainRouter, AMissingChoiceHasNoWeightAndTakesNoPlace) {
    auto options = router("mixtral", 2, 2);
    options.capacity_factor = 0.5;  // one place
    const auto routing =
        plain_route(options, std::vector<double>{0, 0, 0, 0}, std::vector{-1, 0, 1, 0}, std::vector{0, 2});

    EXPECT_EQ(routing.weights, (std::vector<double>{0, 1, 0.5, 0.5}));
    EXPECT_EQ(routing.kept, (std::vector<unsigned char>{0, 1, 1, 0}));
    EXPECT_EQ(routing.dropped, 1);
}

}  // namespace
}  // namespace expar
