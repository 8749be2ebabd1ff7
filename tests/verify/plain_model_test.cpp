#include "expar/verify/plain_model.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "expar/base/error.hpp"
#include "expar/verify/plain_parameters.hpp"
#include "verify/plain_support.hpp"

namespace expar {
namespace {

ModelOptions small() {
    ModelOptions options;
    options.vocabulary = 11;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 2;
    options.intermediate = 6;
    options.experts = 5;
    options.balance_coefficient = 0.3;  // large, so that the losses act
    options.z_coefficient = 0.2;
    return options;
}

PlainBatch make_batch(std::vector<int> offsets, std::vector<int> rank_offsets, std::uint64_t seed) {
    PlainBatch batch;
    batch.offsets = std::move(offsets);
    batch.rank_offsets = std::move(rank_offsets);
    const std::size_t tokens = batch.offsets.back();
    for (const double x : random_numbers(tokens, seed)) batch.tokens.push_back(int((x + 1) / 2 * 11));
    for (const double x : random_numbers(tokens, seed + 1)) batch.targets.push_back(int((x + 1) / 2 * 12) - 1);
    return batch;
}

// Unequal micro-batches on three ranks: one rank without tokens, one sequence of a single token, one empty batch.
std::vector<PlainBatch> two_and_an_empty_one() {
    return {make_batch({0, 5, 6, 10}, {0, 6, 6, 10}, 1), make_batch({0, 3, 7}, {0, 0, 3, 7}, 3),
            make_batch({0}, {0, 0, 0, 0}, 5)};
}

void add_noise(const ModelOptions& options, std::vector<PlainBatch>& batches) {
    std::uint64_t seed = 100;
    for (PlainBatch& batch : batches)
        for (int layer = 0; layer < options.layers; ++layer)
            if (options.is_moe(layer))
                batch.noise.push_back(random_numbers(batch.tokens.size() * options.experts, ++seed));
}

// Keeps the choices as they are when weights move.
void fix_choices(const ModelOptions& options, const PlainWeights& weights, std::vector<PlainBatch>& batches) {
    const auto result = plain_step(options, weights, batches);
    for (std::size_t m = 0; m < batches.size(); ++m)
        for (const PlainRouting& routing : result.micro_batches[m].routings)
            batches[m].choices.push_back(routing.choices);
}

struct Case {
    const char* name;
    void (*change)(ModelOptions&);
    bool noise = false;
};

class PlainModelGradients : public testing::TestWithParam<Case> {};

// Every parameter is moved along one random direction, which no wrong element can hide from, and along one element.
TEST_P(PlainModelGradients, MatchDifferencesOfTheObjective) {
    auto options = small();
    GetParam().change(options);
    options = options.resolved();
    const auto weights = random_weights(options, 7);
    auto batches = two_and_an_empty_one();
    if (GetParam().noise) add_noise(options, batches);
    fix_choices(options, weights, batches);
    const auto result = plain_step(options, weights, batches);

    double worst = 0;
    std::uint64_t seed = 50;
    for (const auto& [name, gradient] : result.gradients) {
        std::vector<std::vector<double>> directions = {random_numbers(gradient.size(), ++seed)};
        directions.emplace_back(gradient.size());
        directions.back()[gradient.size() / 2] = 1;
        for (const auto& direction : directions) {
            const auto moved = [&](double by) {
                auto other = weights;
                for (std::size_t i = 0; i < direction.size(); ++i) other[name][i] += by * direction[i];
                return plain_step(options, other, batches).objective;
            };
            const double difference = std::abs(plain_dot(gradient, direction) - numeric_derivative(moved, 2e-4));
            const double scale = std::sqrt(plain_dot(gradient, gradient));
            // A parameter that nothing reaches (an expert without tokens) has no scale of its own.
            if (scale == 0)
                EXPECT_LE(difference, 1e-10) << name;
            else
                EXPECT_LE(difference / scale, 1e-8) << name;
            if (scale > 0) worst = std::max(worst, difference / scale);
        }
    }
    RecordProperty("worst_relative_error", concat(worst));
}

INSTANTIATE_TEST_SUITE_P(
    Options, PlainModelGradients,
    testing::Values(Case{"Defaults", [](auto&) {}}, Case{"Olmoe", [](auto& o) { o.router = "olmoe"; }},
                    Case{"GptOss", [](auto& o) { o.router = "gpt-oss"; }},
                    Case{"Switch", [](auto& o) { o.router = "switch", o.top_k = 1; }},
                    Case{"MixtralTopOne", [](auto& o) { o.top_k = 1; }},
                    Case{"OlmoeTopThree", [](auto& o) { o.router = "olmoe", o.top_k = 3; }},
                    Case{"Gelu", [](auto& o) { o.activation = "gelu"; }},
                    Case{"GeluTanh", [](auto& o) { o.activation = "gelu_tanh"; }},
                    Case{"Relu", [](auto& o) { o.activation = "relu"; }},
                    Case{"SharedSum", [](auto& o) { o.shared_intermediate = 7; }},
                    Case{"SharedGated", [](auto& o) { o.shared_intermediate = 7, o.shared = "gated"; }},
                    Case{"GroupedHeadsWithProjectionNorm",
                         [](auto& o) { o.heads = 4, o.kv_heads = 2, o.qk_norm = "projection"; }},
                    Case{"HeadNormAndHeadSize", [](auto& o) { o.head_size = 6, o.kv_heads = 1, o.qk_norm = "head"; }},
                    Case{"TiedHead", [](auto& o) { o.tied_head = true; }},
                    Case{"DenseEverySecondLayer", [](auto& o) { o.moe_every = 2, o.dense_intermediate = 9; }},
                    Case{"DenseReluOnly", [](auto& o) { o.moe_every = 3, o.activation = "relu"; }},
                    Case{"Noise", [](auto& o) { o.router = "olmoe"; }, true},
                    Case{"CapacityOfAll", [](auto& o) { o.router = "olmoe", o.capacity_factor = 0.6; }},
                    Case{"CapacityOfARank", [](auto& o) { o.capacity_factor = 0.6, o.capacity_scope = "rank"; }},
                    Case{"BalanceOfARank", [](auto& o) { o.balance_scope = "rank"; }},
                    Case{"NoLosses", [](auto& o) { o.balance_coefficient = o.z_coefficient = 0; }},
                    Case{"Everything",
                         [](auto& o) {
                             o.router = "olmoe", o.activation = "gelu", o.shared_intermediate = 5, o.shared = "gated";
                             o.heads = 4, o.kv_heads = 2, o.qk_norm = "head", o.tied_head = true, o.moe_every = 2;
                             o.capacity_factor = 0.7, o.balance_scope = o.capacity_scope = "rank", o.top_k = 3;
                         },
                         true}),
    [](const auto& info) { return info.param.name; });

TEST(PlainModel, WithZeroWeightsEveryTokenIsEquallyLikely) {
    auto options = small().resolved();
    const auto result = plain_step(options, plain_zeros(random_weights(options, 7)), two_and_an_empty_one());

    EXPECT_NEAR(result.loss, std::log(11.0), 1e-14);
    EXPECT_NEAR(result.z_loss, std::log(5.0) * std::log(5.0), 1e-14);
    EXPECT_NEAR(result.balance_loss, 1, 1e-14);
    EXPECT_NEAR(result.objective, result.loss + 2 * (0.3 * result.balance_loss + 0.2 * result.z_loss), 1e-14);
}

TEST(PlainModel, TheEmbeddingsGradientIsThatOfItsRows) {
    const auto options = small().resolved();
    const auto batches = two_and_an_empty_one();
    const auto result = plain_step(options, random_weights(options, 7), batches);

    std::vector<double> sum(11 * 8);
    for (std::size_t m = 0; m < batches.size(); ++m)
        for (std::size_t t = 0; t < batches[m].tokens.size(); ++t)
            for (std::size_t i = 0; i < 8; ++i)
                sum[batches[m].tokens[t] * 8 + i] += result.micro_batches[m].d_embedded[t * 8 + i];

    const auto& gradient = result.gradients.at("embedding.weight");
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_NEAR(gradient[i], sum[i], 1e-14);
}

// The balance loss is a mean over micro-batches of a product of means, so it alone sees where they are cut.
TEST(PlainModel, WithoutBalanceLossMicroBatchesAreOneBatch) {
    auto options = small();
    options.balance_coefficient = 0;
    options = options.resolved();
    const auto weights = random_weights(options, 7);
    const auto first = make_batch({0, 4}, {}, 1), second = make_batch({0, 6}, {}, 3);
    auto joined = first;
    joined.tokens.insert(joined.tokens.end(), second.tokens.begin(), second.tokens.end());
    joined.targets.insert(joined.targets.end(), second.targets.begin(), second.targets.end());
    joined.offsets = {0, 4, 10};

    const auto apart = plain_step(options, weights, std::vector{first, second});
    const auto together = plain_step(options, weights, std::vector{joined});

    EXPECT_NEAR(apart.objective, together.objective, 1e-14);
    EXPECT_NEAR(apart.gradient_norm, together.gradient_norm, 1e-12);
}

TEST(PlainModel, TopOneWithMixtralsWeightsTeachesTheRouterNothingButItsLosses) {
    auto options = small();
    options.top_k = 1;
    options.balance_coefficient = options.z_coefficient = 0;
    options = options.resolved();
    const auto result = plain_step(options, random_weights(options, 7), two_and_an_empty_one());

    EXPECT_EQ(result.gradients.at("layers.0.router.weight"), std::vector<double>(5 * 8));
    EXPECT_GT(result.gradient_norm, 0);
}

TEST(PlainModel, NoiseIsAddedToTheLogitsBeforeTheChoice) {
    const auto options = small().resolved();
    const auto weights = random_weights(options, 7);
    auto batches = two_and_an_empty_one();
    const auto quiet = plain_step(options, weights, batches);
    add_noise(options, batches);
    batches[0].noise[0][3] += 1000;  // token 0 must now choose expert 3
    const auto noisy = plain_step(options, weights, batches);

    const PlainRouting& before = quiet.micro_batches[0].routings[0];
    const PlainRouting& after = noisy.micro_batches[0].routings[0];
    for (std::size_t i = 0; i < after.logits.size(); ++i)
        EXPECT_DOUBLE_EQ(after.logits[i], before.logits[i] + batches[0].noise[0][i]);
    EXPECT_EQ(after.choices[0], 3);
}

TEST(PlainModel, CapacityDropsAndSaysHowMany) {
    auto options = small();
    options.capacity_factor = 0.6;
    options = options.resolved();
    const auto result = plain_step(options, random_weights(options, 7), two_and_an_empty_one());

    const PlainRouting& routing = result.micro_batches[0].routings[1];
    EXPECT_EQ(routing.dropped, std::ranges::count(routing.kept, 0));
    EXPECT_GT(routing.dropped, 0);
    for (int expert = 0; expert < 5; ++expert) {
        int kept = 0;
        for (std::size_t i = 0; i < routing.kept.size(); ++i) kept += routing.kept[i] && routing.choices[i] == expert;
        EXPECT_LE(kept, 3);  // ceil(0.6 * 2 * 10 / 5)
    }
}

TEST(PlainModel, ABatchWhoseArraysDoNotFitIsAnError) {
    const auto options = small().resolved();
    const auto weights = random_weights(options, 7);
    const auto fails = [&](auto change) {
        auto batch = make_batch({0, 4, 10}, {}, 1);
        change(batch);
        EXPECT_THROW((void)plain_step(options, weights, std::vector{batch}), Error);
    };
    fails([](auto& b) { b.targets.pop_back(); });
    fails([](auto& b) { b.tokens[0] = 11; });
    fails([](auto& b) { b.offsets = {0, 4}; });
    fails([](auto& b) { b.rank_offsets = {0, 11, 10}; });
    fails([](auto& b) { b.choices = {std::vector<int>(20)}; });
    fails([](auto& b) { b.choices = {std::vector<int>(20, 5), std::vector<int>(20)}; });
    fails([](auto& b) { b.noise = {std::vector<double>(20), std::vector<double>(50)}; });
}

}  // namespace
}  // namespace expar
