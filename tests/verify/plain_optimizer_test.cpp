#include "expar/verify/plain_optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "expar/base/error.hpp"
#include "expar/verify/plain_parameters.hpp"

namespace expar {
namespace {

TEST(PlainOptimizer, TheNormIsOfAllGradientsTogether) {
    EXPECT_EQ(plain_gradient_norm({{"a", {2, 4}}, {"b", {4}}}), 6);
    EXPECT_EQ(plain_gradient_norm({}), 0);
}

TEST(PlainOptimizer, ClippingOnlyEverShrinks) {
    EXPECT_EQ(plain_clip_factor(4, 1), 0.25);
    EXPECT_EQ(plain_clip_factor(1, 1), 1);
    EXPECT_EQ(plain_clip_factor(0.5, 1), 1);
    EXPECT_EQ(plain_clip_factor(4, 0), 1);
    EXPECT_EQ(plain_clip_factor(0, 1), 1);
}

// In the first step both bias corrections undo the averages: the direction is g / (|g| + epsilon).
TEST(PlainOptimizer, TheFirstStepOfAdamwIsTheSignOfTheGradientAndDecay) {
    const PlainOptimizer optimizer{.learning_rate = 0.1, .weight_decay = 0.5};

    const auto next = plain_update(optimizer, 1, {.weights = {{"a", {1, 1, 1}}}, .moment1 = {}, .moment2 = {}},
                                   {{"a", {3, -0.02, 0}}});

    EXPECT_NEAR(next.weights.at("a")[0], 1 - 0.1 * (3 / (3 + 1e-8) + 0.5), 1e-15);
    EXPECT_NEAR(next.weights.at("a")[1], 1 - 0.1 * (-0.02 / (0.02 + 1e-8) + 0.5), 1e-15);
    EXPECT_NEAR(next.weights.at("a")[2], 1 - 0.1 * 0.5, 1e-15);
    EXPECT_NEAR(next.moment1.at("a")[0], 0.3, 1e-15);
    EXPECT_NEAR(next.moment2.at("a")[0], 0.45, 1e-15);
}

// Gradients 1 then 3: m = 0.9 * 0.1 + 0.1 * 3 = 0.39, v = 0.95 * 0.05 + 0.05 * 9 = 0.4975.
TEST(PlainOptimizer, TheSecondStepOfAdamwIsItsClosedForm) {
    const PlainOptimizer optimizer{.learning_rate = 0.1};

    auto state = plain_update(optimizer, 1, {.weights = {{"a", {1}}}, .moment1 = {}, .moment2 = {}}, {{"a", {1}}});
    const double after_one = state.weights.at("a")[0];
    state = plain_update(optimizer, 2, state, {{"a", {3}}});

    const double direction = 0.39 / (1 - 0.81) / (std::sqrt(0.4975 / (1 - 0.9025)) + 1e-8);
    EXPECT_NEAR(state.weights.at("a")[0], after_one - 0.1 * direction, 1e-15);
}

TEST(PlainOptimizer, SgdFollowsTheClippedGradient) {
    const PlainOptimizer optimizer{.kind = "sgd", .learning_rate = 0.1, .clip = 1};

    const auto next =
        plain_update(optimizer, 1, {.weights = {{"a", {1, 1}}}, .moment1 = {}, .moment2 = {}}, {{"a", {3, 4}}});

    EXPECT_NEAR(next.weights.at("a")[0], 1 - 0.1 * 3 / 5, 1e-15);
    EXPECT_NEAR(next.weights.at("a")[1], 1 - 0.1 * 4 / 5, 1e-15);
}

TEST(PlainOptimizer, NormsDoNotDecayAndTheRouterHasItsOwnRate) {
    const PlainOptimizer optimizer{.kind = "sgd", .learning_rate = 0.1, .router_scale = 0.5, .weight_decay = 1};
    const PlainState state{.weights = {{"layers.0.router.weight", {1}},
                                       {"layers.0.attention.query_norm.weight", {1}},
                                       {"norm.weight", {1}},
                                       {"layers.0.shared_gate.weight", {1}}},
                           .moment1 = {},
                           .moment2 = {}};

    const auto next = plain_update(optimizer, 1, state, plain_zeros(state.weights));

    EXPECT_NEAR(next.weights.at("layers.0.router.weight")[0], 0.95, 1e-15);
    EXPECT_EQ(next.weights.at("layers.0.attention.query_norm.weight")[0], 1);
    EXPECT_EQ(next.weights.at("norm.weight")[0], 1);
    EXPECT_NEAR(next.weights.at("layers.0.shared_gate.weight")[0], 0.9, 1e-15);
}

TEST(PlainOptimizer, AnUnknownKindIsAnError) {
    EXPECT_THROW((void)plain_update({.kind = "adam"}, 1, {}, {}), Error);
}

}  // namespace
}  // namespace expar
