#include "expar/verify/plain_mlp.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "verify/plain_support.hpp"

namespace expar {
namespace {

ModelOptions two_wide(const std::string& activation) {
    ModelOptions options;
    options.hidden = 2;
    options.activation = activation;
    return options;
}

// Values of the definitions with 30 digits: x sigmoid(x), x Phi(x) and the tanh approximation at x = 1.
TEST(PlainMlp, ActivationsHaveTheirKnownValues) {
    EXPECT_NEAR(plain_activation("swiglu", 1), 0.731058578630004879, 1e-15);
    EXPECT_NEAR(plain_activation("gelu", 1), 0.841344746068542949, 1e-15);
    EXPECT_NEAR(plain_activation("gelu_tanh", 1), 0.841191990608275, 1e-14);
    EXPECT_EQ(plain_activation("relu", 1), 1);
    EXPECT_EQ(plain_activation("relu", -1), 0);
    EXPECT_THROW((void)plain_activation("sine", 1), Error);
}

TEST(PlainMlp, DerivativesOfActivationsMatchDifferences) {
    for (const std::string name : {"swiglu", "gelu", "gelu_tanh", "relu"})
        for (const double x : {-3.0, -0.5, 0.25, 2.0})
            EXPECT_NEAR(plain_activation_derivative(name, x),
                        numeric_derivative([&](double by) { return plain_activation(name, x + by); }), 1e-10)
                << name << " at " << x;
}

TEST(PlainMlp, AnUngatedMlpIsDownOfTheActivationOfUp) {
    const PlainWeights weights = {{"up.weight", {1, 0, 0, 1, 1, 1}}, {"down.weight", {1, 2, 3, 4, 5, 6}}};

    // up (2, -3) = (2, -3, -1), relu (2, 0, 0)
    EXPECT_EQ(PlainMlp(two_wide("relu"), weights, "").forward(std::vector<double>{2, -3}), (std::vector<double>{2, 8}));
}

TEST(PlainMlp, SwigluMultipliesUpWithTheGatesSilu) {
    const PlainWeights weights = {{"a.gate.weight", {1, 0}}, {"a.up.weight", {0, 1}}, {"a.down.weight", {1, 10}}};
    const double silu = 2 / (1 + std::exp(-2.0));

    const auto y = PlainMlp(two_wide("swiglu"), weights, "a.").forward(std::vector<double>{2, 3});

    EXPECT_DOUBLE_EQ(y[0], 3 * silu);
    EXPECT_DOUBLE_EQ(y[1], 30 * silu);
}

TEST(PlainMlp, TheGradientOfTheInputMatchesDifferences) {
    for (const std::string name : {"swiglu", "gelu", "gelu_tanh"}) {
        PlainWeights weights = {{"up.weight", random_numbers(6, 1)}, {"down.weight", random_numbers(6, 2)}};
        if (name == "swiglu") weights["gate.weight"] = random_numbers(6, 3);
        const PlainMlp mlp(two_wide(name), weights, "");
        const auto x = random_numbers(4, 4), d_y = random_numbers(4, 5);
        PlainWeights gradients = plain_zeros(weights);
        const auto d_x = mlp.backward(x, d_y, gradients);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto moved = [&](double by) {
                auto other = x;
                other[i] += by;
                return plain_dot(mlp.forward(other), d_y);
            };
            EXPECT_NEAR(d_x[i], numeric_derivative(moved), 1e-10) << name;
        }
    }
}

}  // namespace
}  // namespace expar
