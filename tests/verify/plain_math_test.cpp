#include "expar/verify/plain_math.hpp"

#include <gtest/gtest.h>

#include "verify/plain_support.hpp"

namespace expar {
namespace {

TEST(PlainMath, ALinearMapMultipliesWithTheTransposedWeight) {
    const std::vector<double> x = {1, 2, 3, 4}, weight = {1, 0, 0, 1, 1, 1};

    EXPECT_EQ(plain_linear(x, weight, 2), (std::vector<double>{1, 2, 3, 3, 4, 7}));
}

TEST(PlainMath, TheBackwardOfALinearMapAddsToTheWeightsGradient) {
    const std::vector<double> x = {1, 2}, weight = {3, 4}, d_y = {10};
    std::vector<double> d_weight = {0.5, 0.5};

    EXPECT_EQ(plain_linear_backward(x, weight, 2, d_y, d_weight), (std::vector<double>{30, 40}));
    EXPECT_EQ(d_weight, (std::vector<double>{10.5, 20.5}));
}

TEST(PlainMath, TheNormBringsTheMeanSquareToOne) {
    const auto y = plain_rms_norm(std::vector<double>{3, 4, 0, 0}, std::vector<double>{1, 1, 1, 2}, 0);

    EXPECT_DOUBLE_EQ(y[0], 3 / 2.5);
    EXPECT_DOUBLE_EQ(y[1], 4 / 2.5);
    EXPECT_EQ(plain_rms_norm(std::vector<double>{0, 0}, std::vector<double>{1, 1}, 1e-5)[0], 0);
}

TEST(PlainMath, TheGradientsOfTheNormMatchDifferences) {
    const auto x = random_numbers(12, 1), weight = random_numbers(4, 2), d_y = random_numbers(12, 3);
    std::vector<double> d_weight(4);
    const auto d_x = plain_rms_norm_backward(x, weight, 0.1, d_y, d_weight);

    for (std::size_t i = 0; i < x.size(); ++i) {
        const auto moved = [&](double by) {
            auto other = x;
            other[i] += by;
            return plain_dot(plain_rms_norm(other, weight, 0.1), d_y);
        };
        EXPECT_NEAR(d_x[i], numeric_derivative(moved), 1e-10);
    }
    for (std::size_t i = 0; i < weight.size(); ++i) {
        const auto moved = [&](double by) {
            auto other = weight;
            other[i] += by;
            return plain_dot(plain_rms_norm(x, other, 0.1), d_y);
        };
        EXPECT_NEAR(d_weight[i], numeric_derivative(moved), 1e-10);
    }
}

TEST(PlainMath, SoftmaxSurvivesLargeLogits) {
    const auto probabilities = plain_softmax(std::vector<double>{1000, 1000 + std::log(3), -1000});

    EXPECT_NEAR(probabilities[0], 0.25, 1e-12);
    EXPECT_NEAR(probabilities[1], 0.75, 1e-12);
    EXPECT_EQ(probabilities[2], 0);
    EXPECT_NEAR(plain_log_sum_exp(std::vector<double>{1000, 1000}), 1000 + std::log(2), 1e-12);
}

TEST(PlainMath, TheGradientOfSoftmaxMatchesDifferences) {
    const auto row = random_numbers(5, 1), d_probabilities = random_numbers(5, 2);
    const auto d_row = plain_softmax_backward(plain_softmax(row), d_probabilities);

    for (std::size_t i = 0; i < row.size(); ++i) {
        const auto moved = [&](double by) {
            auto other = row;
            other[i] += by;
            return plain_dot(plain_softmax(other), d_probabilities);
        };
        EXPECT_NEAR(d_row[i], numeric_derivative(moved), 1e-10);
    }
}

}  // namespace
}  // namespace expar
