#include "expar/infer/sampler.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace expar {
namespace {

// Softmax: 0.05, 0.5, 0.15, 0.3
const std::vector<double> logits = {std::log(0.05), std::log(0.5), std::log(0.15), std::log(0.3)};

std::vector<double> frequencies(const SamplerOptions& options) {
    constexpr int draws = 20000;
    std::vector<double> found(logits.size());
    for (int i = 0; i < draws; ++i) found[sample(logits, options, std::uint64_t(i))] += 1.0 / draws;
    return found;
}

void expect_frequencies(const SamplerOptions& options, const std::vector<double>& expected) {
    const auto found = frequencies(options);
    for (std::size_t token = 0; token < expected.size(); ++token)
        EXPECT_NEAR(found[token], expected[token], expected[token] == 0 ? 0 : 0.015) << "token " << token;
}

TEST(SamplerTest, DrawsByProbability) {
    expect_frequencies({}, {0.05, 0.5, 0.15, 0.3});
}

TEST(SamplerTest, TemperatureZeroTakesTheLikeliestAndTheLowestOfEquals) {
    expect_frequencies({.temperature = 0}, {0, 1, 0, 0});
    EXPECT_EQ(sample(std::vector{1.0, 3.0, 3.0}, {.temperature = 0}, 0), 1);
}

TEST(SamplerTest, TemperatureIsAppliedBeforeTheSoftmax) {
    // Squares of the probabilities, normalised.
    const double sum = 0.0025 + 0.25 + 0.0225 + 0.09;
    expect_frequencies({.temperature = 0.5}, {0.0025 / sum, 0.25 / sum, 0.0225 / sum, 0.09 / sum});
}

TEST(SamplerTest, TopKDrawsAmongTheLikeliest) {
    expect_frequencies({.top_k = 2}, {0, 0.625, 0, 0.375});
    expect_frequencies({.top_k = 9}, {0.05, 0.5, 0.15, 0.3});
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
    expect_frequencies({.top_p = 0.45}, {0, 1, 0, 0});
    expect_frequencies({.top_p = 0.75}, {0, 0.625, 0, 0.375});
    expect_frequencies({.top_p = 0.9}, {0, 0.5 / 0.95, 0.15 / 0.95, 0.3 / 0.95});
}

TEST(SamplerTest, DependsOnSeedAndPositionAlone) {
    int same = 0;
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(sample(logits, {.seed = 3}, i), sample(logits, {.seed = 3}, i));
        same += sample(logits, {.seed = 3}, i) == sample(logits, {.seed = 4}, i);
    }
    EXPECT_LT(same, 70);
}

TEST(SamplerTest, SurvivesLogitsFarApart) {
    EXPECT_EQ(sample(std::vector{-1e30, 1e30, 0.0}, {}, 1), 1);
}

TEST(SamplerTest, RefusesWhatIsNoNumber) {
    EXPECT_THROW((void)sample(std::vector{0.0, std::numeric_limits<double>::quiet_NaN()}, {}, 1), Error);
}

TEST(SamplerTest, NamesWhatIsOutOfRange) {
    EXPECT_THROW(SamplerOptions{.temperature = -1}.validate(), UserError);
    EXPECT_THROW(SamplerOptions{.top_k = -1}.validate(), UserError);
    EXPECT_THROW(SamplerOptions{.top_p = 0}.validate(), UserError);
    EXPECT_THROW(SamplerOptions{.top_p = 1.5}.validate(), UserError);
    EXPECT_NO_THROW(SamplerOptions{}.validate());
}

}  // namespace
}  // namespace expar
