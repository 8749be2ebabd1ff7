#include "expar/infer/generate.hpp"

#include <gtest/gtest.h>

#include "expar/compute/cpu_device.hpp"
#include "model/test_model.hpp"

namespace expar {
namespace {

ModelOptions model_options() {
    ModelOptions options = small_options();
    options.vocabulary = 50;
    options.hidden = 24;
    options.experts = 5;
    return options;
}

class GenerateTest : public testing::Test {
protected:
    [[nodiscard]] std::vector<int> on_all_ranks(const GenerateOptions& options) {
        return generate(spread.transformer, spread.group, prompt, options);
    }
    [[nodiscard]] std::vector<int> on_one_rank(const GenerateOptions& options) {
        return generate(single.transformer, single.group, prompt, options);
    }

    Communicator world{MPI_COMM_WORLD};
    Communicator alone = world.split(world.rank());
    std::unique_ptr<Device> device = make_cpu_device(1);
    TestModel spread{model_options(), *device, DType::float32, world};
    TestModel single{model_options(), *device, DType::float32, alone};
    std::vector<int> prompt = {4, 8, 15, 16, 23, 42};
};

TEST_F(GenerateTest, TheTextIsTheSameAtAnyRankCount) {
    const GenerateOptions options{.tokens = 40, .sampler = {.temperature = 0.8, .top_p = 0.95, .seed = 9}};
    EXPECT_EQ(on_all_ranks(options), on_one_rank(options));
}

TEST_F(GenerateTest, TheTextIsTheSameAtAnyRankCountWhenTheContextSlides) {
    const GenerateOptions options{.tokens = 40, .context = 12};
    EXPECT_EQ(on_all_ranks(options), on_one_rank(options));
}

TEST_F(GenerateTest, TemperatureZeroAppendsTheLikeliestOfWhatOnePassSays) {
    const GenerateOptions options{.tokens = 12, .sampler = {.temperature = 0}};
    std::vector<int> text = prompt;
    for (const int token : on_all_ranks(options)) text.push_back(token);

    MicroBatch batch;
    batch.append(text);
    const TransformerState state = single.transformer.forward(batch, {}, false);
    for (int t = int(prompt.size()) - 1; t < batch.token_count(); ++t)
        EXPECT_EQ(sample(state.logits.view().slice(t, 1), options.sampler, 0, *device), batch.targets[t]);
}

// When the model has looked back on 12 tokens, it goes on from the last 6.
TEST_F(GenerateTest, AFullContextGoesOnFromItsLaterHalf) {
    const GenerateOptions options{.tokens = 10, .context = 12, .sampler = {.temperature = 0}};
    std::vector<int> text = prompt;
    for (const int token : on_all_ranks(options)) text.push_back(token);

    MicroBatch batch;
    batch.append(std::span(text).subspan(7));  // 13 tokens were one too many
    const TransformerState state = single.transformer.forward(batch, {}, false);
    for (int t = 5; t < batch.token_count(); ++t)
        EXPECT_EQ(sample(state.logits.view().slice(t, 1), options.sampler, 0, *device), batch.targets[t]);
}

TEST_F(GenerateTest, TokensAreToldAsSoonAsTheyAreKnown) {
    std::vector<int> told;
    const auto text =
        generate(spread.transformer, spread.group, prompt, {.tokens = 5}, [&](int token) { told.push_back(token); });
    EXPECT_EQ(told, text);
    EXPECT_EQ(text.size(), 5U);
}

TEST_F(GenerateTest, RefusesAPromptThatTheModelCannotRead) {
    const auto with_prompt = [&](const std::vector<int>& tokens) {
        (void)generate(spread.transformer, spread.group, tokens, {});
    };
    EXPECT_THROW(with_prompt({}), UserError);
    EXPECT_THROW(with_prompt({3, 50}), UserError);
}

}  // namespace
}  // namespace expar
