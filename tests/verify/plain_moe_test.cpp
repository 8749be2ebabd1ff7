#include "expar/verify/plain_moe.hpp"

#include <gtest/gtest.h>

#include "verify/plain_support.hpp"

namespace expar {
namespace {

constexpr int hidden = 4;

ModelOptions block(int top_k, int shared_intermediate = 0, const std::string& shared = "sum") {
    ModelOptions options;
    options.hidden = hidden;
    options.heads = 1;
    options.layers = 1;
    options.intermediate = 3;
    options.experts = 4;
    options.top_k = top_k;
    options.shared_intermediate = shared_intermediate;
    options.shared = shared;
    return options.resolved();
}

PlainRouting route(const ModelOptions& options, const PlainMoe& moe, std::span<const double> x) {
    const auto logits = moe.logits(x);
    return plain_route(options, logits, plain_choose(options, logits), std::vector{0, int(x.size()) / hidden});
}

TEST(PlainMoe, EqualExpertsWhoseWeightsSumToOneAreOneExpert) {
    const auto options = block(3);
    auto weights = random_weights(options, 1);
    for (int expert = 1; expert < 4; ++expert)
        for (const std::string part : {"gate.weight", "up.weight", "down.weight"})
            weights["layers.0.experts." + std::to_string(expert) + "." + part] = weights["layers.0.experts.0." + part];
    const PlainMoe moe(options, weights, "layers.0.");
    const auto x = random_numbers(5 * hidden, 2);

    const auto y = moe.forward(x, route(options, moe, x));
    const auto expected = PlainMlp(options, weights, "layers.0.experts.0.").forward(x);

    for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y[i], expected[i], 1e-15);
}

TEST(PlainMoe, ADroppedChoiceContributesNothing) {
    const auto options = block(2);
    const auto weights = random_weights(options, 1);
    const PlainMoe moe(options, weights, "layers.0.");
    const auto x = random_numbers(hidden, 2), d_y = random_numbers(hidden, 3);
    auto routing = route(options, moe, x);
    routing.kept = {0, 0};
    auto gradients = plain_zeros(weights);

    EXPECT_EQ(moe.forward(x, routing), std::vector<double>(hidden));
    EXPECT_EQ(moe.backward(x, routing, d_y, std::vector<double>(4), gradients), std::vector<double>(hidden));
    EXPECT_EQ(gradients, plain_zeros(weights));
}

TEST(PlainMoe, ASharedExpertIsAddedWithItsGate) {
    const auto options = block(1, 5, "gated");
    auto weights = random_weights(options, 1);
    weights["layers.0.shared_gate.weight"] = {std::log(3.0), 0, 0, 0};  // x_0 = 1: sigmoid = 3/4
    const PlainMoe moe(options, weights, "layers.0.");
    const std::vector<double> x = {1, 0.5, -1, 2};
    auto routing = route(options, moe, x);
    routing.kept = {0};

    const auto y = moe.forward(x, routing);
    const auto shared = PlainMlp(options, weights, "layers.0.shared.").forward(x);

    for (int i = 0; i < hidden; ++i) EXPECT_NEAR(y[i], 0.75 * shared[i], 1e-15);
}

TEST(PlainMoe, TheGradientOfTheInputMatchesDifferences) {
    for (const std::string shared : {"sum", "gated"}) {
        const auto options = block(2, 5, shared);
        const auto weights = random_weights(options, 1);
        const PlainMoe moe(options, weights, "layers.0.");
        const auto x = random_numbers(3 * hidden, 2), d_y = random_numbers(3 * hidden, 3);
        const auto routing = route(options, moe, x);
        auto gradients = plain_zeros(weights);
        const auto d_x = moe.backward(x, routing, d_y, std::vector<double>(3 * 4), gradients);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto moved = [&](double by) {
                auto other = x;
                other[i] += by;
                const auto moved_routing = plain_route(options, moe.logits(other), routing.choices, std::vector{0, 3});
                return plain_dot(moe.forward(other, moved_routing), d_y);
            };
            EXPECT_NEAR(d_x[i], numeric_derivative(moved), 1e-10) << shared;
        }
    }
}

}  // namespace
}  // namespace expar
