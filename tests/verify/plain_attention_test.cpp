#include "expar/verify/plain_attention.hpp"

#include <gtest/gtest.h>

#include "verify/plain_support.hpp"

namespace expar {
namespace {

constexpr int hidden = 8;

struct Attention {
    ModelOptions options;
    PlainWeights weights;

    explicit Attention(int kv_heads = 4, const std::string& qk_norm = "none") {
        options.hidden = hidden;
        options.heads = 4;
        options.kv_heads = kv_heads;
        options.qk_norm = qk_norm;
        options = options.resolved();
        weights = random_weights(options, 1);
    }
    std::vector<double> operator()(std::span<const double> x, std::span<const int> offsets) const {
        return PlainAttention(options, weights, 0).forward(x, offsets);
    }
    std::vector<double>& weight(const std::string& name) { return weights.at("layers.0.attention." + name); }
};

std::vector<double> rows(const std::vector<double>& all, int first, int last) {
    return {all.begin() + first * hidden, all.begin() + last * hidden};
}

TEST(PlainAttention, ARowSeesNoLaterRow) {
    const Attention attention;
    auto x = random_numbers(5 * hidden, 1);
    const auto before = attention(x, std::vector{0, 5});
    x[3 * hidden] += 1;
    const auto after = attention(x, std::vector{0, 5});

    EXPECT_EQ(rows(before, 0, 3), rows(after, 0, 3));
    EXPECT_NE(rows(before, 3, 4), rows(after, 3, 4));
    EXPECT_NE(rows(before, 4, 5), rows(after, 4, 5));
}

TEST(PlainAttention, SequencesDoNotMeetAndPositionsRestart) {
    const Attention attention;
    const auto x = random_numbers(5 * hidden, 1);

    const auto together = attention(x, std::vector{0, 2, 2, 5});

    EXPECT_EQ(rows(together, 0, 2), attention(rows(x, 0, 2), std::vector{0, 2}));
    EXPECT_EQ(rows(together, 2, 5), attention(rows(x, 2, 5), std::vector{0, 3}));
}

TEST(PlainAttention, NoRowsAreNoTrouble) {
    EXPECT_TRUE(Attention()(std::vector<double>{}, std::vector{0}).empty());
}

TEST(PlainAttention, QueriesOfZeroTakeTheMeanOfTheValuesSoFar) {
    Attention attention;
    for (double& q : attention.weight("query.weight")) q = 0;
    const auto x = random_numbers(2 * hidden, 1);

    const auto y = attention(x, std::vector{0, 2});
    const auto alone = attention(x, std::vector{0, 1, 2});

    for (int i = 0; i < hidden; ++i) EXPECT_NEAR(y[hidden + i], (alone[i] + alone[hidden + i]) / 2, 1e-14);
}

TEST(PlainAttention, RotaryPositionsTurnPairsHalfAHeadApart) {
    Attention attention;
    attention.options.heads = attention.options.kv_heads = 1;
    attention.options.head_size = 4;
    attention.options.hidden = 4;
    attention.options.rope_theta = 100;
    // Every projection is the identity.
    const std::vector<double> identity = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};
    for (const std::string name : {"query.weight", "key.weight", "value.weight", "output.weight"})
        attention.weight(name) = identity;
    const std::vector<double> x = {1, 0, 0, 0, 0, 0, 5, 0};

    // Row 1: q = (0, 0, 5, 0) turned by 1 is (-5 sin 1, 0, 5 cos 1, 0); the keys are row 0 as it is, and this one.
    const auto y = attention(x, std::vector{0, 2});

    const double first = std::exp(-5 * std::sin(1.0) / 2), second = std::exp(25.0 / 2);
    EXPECT_NEAR(y[4], first / (first + second), 1e-12);
    EXPECT_NEAR(y[6], 5 * second / (first + second), 1e-12);
    EXPECT_EQ(y[5], 0);
}

// Grouped heads are full attention whose key and value heads repeat: heads 0, 1 share the first, 2, 3 the second.
TEST(PlainAttention, GroupedHeadsShareAKeyHeadInRuns) {
    const Attention grouped(2);
    Attention full(4);
    full.weights = grouped.weights;
    for (const std::string name : {"key.weight", "value.weight"}) {
        const auto shared = full.weight(name);
        const std::size_t block = shared.size() / 2;
        std::vector<double> repeated;
        for (const int head : {0, 0, 1, 1})
            repeated.insert(repeated.end(), shared.begin() + head * block, shared.begin() + (head + 1) * block);
        full.weight(name) = repeated;
    }
    const auto x = random_numbers(3 * hidden, 1);

    EXPECT_EQ(grouped(x, std::vector{0, 3}), full(x, std::vector{0, 3}));
}

TEST(PlainAttention, ANormMakesTheScaleOfQueriesIrrelevant) {
    for (const std::string norm : {"projection", "head"}) {
        Attention attention(2, norm);
        attention.options.norm_epsilon = 1e-300;
        const auto x = random_numbers(3 * hidden, 1);
        const auto before = attention(x, std::vector{0, 3});
        for (double& q : attention.weight("query.weight")) q *= 8;
        EXPECT_EQ(attention(x, std::vector{0, 3}), before) << norm;

        // One head alone: only a norm of its own hides its scale.
        for (int i = 0; i < 2 * hidden; ++i) attention.weight("query.weight")[i] *= 8;
        if (norm == "head")
            EXPECT_EQ(attention(x, std::vector{0, 3}), before);
        else
            EXPECT_NE(attention(x, std::vector{0, 3}), before);
    }
}

TEST(PlainAttention, TheGradientOfTheInputMatchesDifferences) {
    for (const std::string norm : {"none", "projection", "head"}) {
        const Attention attention(2, norm);
        const std::vector<int> offsets = {0, 3, 4, 6};
        const auto x = random_numbers(6 * hidden, 1), d_y = random_numbers(6 * hidden, 2);
        PlainWeights gradients = plain_zeros(attention.weights);
        const auto d_x = PlainAttention(attention.options, attention.weights, 0).backward(x, offsets, d_y, gradients);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const auto moved = [&](double by) {
                auto other = x;
                other[i] += by;
                return plain_dot(attention(other, offsets), d_y);
            };
            EXPECT_NEAR(d_x[i], numeric_derivative(moved), 1e-8) << norm;
        }
    }
}

}  // namespace
}  // namespace expar
