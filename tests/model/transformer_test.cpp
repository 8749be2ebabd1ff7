#include "expar/model/transformer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "expar/compute/cpu_device.hpp"
#include "test_model.hpp"

namespace expar {
namespace {

ModelOptions with_everything() {
    ModelOptions options = small_options();
    options.vocabulary = 37;
    options.layers = 4;
    options.moe_every = 2;
    options.hidden = 24;
    options.intermediate = 20;
    options.qk_norm = "projection";
    options.shared_intermediate = 12;
    options.initial_std = 0.2;
    return options;
}

class TransformerTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> cpu = make_cpu_device(1);
    std::unique_ptr<Device> reference = make_reference_device();
    ModelOptions options = with_everything();
};

TEST_F(TransformerTest, ASequenceHasTheSameLogitsAloneOrBesideOthers) {
    TestModel model(options, *cpu, DType::float32, world);
    const MicroBatch batch = random_batch({3, 70, 1, 128, 33}, options.vocabulary, 1);
    const TransformerState together = model.transformer.forward(batch, {}, false);
    for (int s = 0; s < batch.sequence_count(); ++s) {
        const MicroBatch one = sequence_of(batch, s);
        const TransformerState alone = model.transformer.forward(one, {}, false);
        EXPECT_TRUE(same_bits(alone.logits, together.logits.view().slice(batch.offsets[s], one.token_count())))
            << "sequence " << s;
    }
}

TEST_F(TransformerTest, LossIsThatOfTheTargets) {
    TestModel model(options, *reference, DType::float64, world);
    MicroBatch batch = random_batch({5, 4}, options.vocabulary, 2);
    batch.targets[3] = -1;
    const TransformerState state = model.transformer.forward(batch, {}, false);
    double expected = 0;
    for (int t = 0; t < batch.token_count(); ++t) {
        if (batch.targets[t] < 0) continue;
        double sum = 0;
        for (const double logit : state.logits.view().row<double>(t)) sum += std::exp(logit);
        expected += std::log(sum) - state.logits.view().row<double>(t)[batch.targets[t]];
    }
    EXPECT_NEAR(state.loss_sum, expected, 1e-12 * expected);
}

// The text is read in pieces: a prompt, one token at a time, and several at once.
void expect_pieces_equal_one_pass(const TestModel& model, Device& device, double tolerance) {
    const ModelOptions& options = model.transformer.options();
    const MicroBatch batch = random_batch({40}, options.vocabulary, 3);
    const TransformerState state = model.transformer.forward(batch, {}, false);
    KvCache cache(device, model.transformer.dtype(), options, batch.token_count());
    int known = 0;
    for (const int piece : {17, 1, 1, 1, 9, 0, 1, 10}) {
        const auto tokens = std::span(batch.tokens).subspan(known, piece);
        const Matrix logits = model.transformer.extend(tokens, cache);
        EXPECT_LE(relative_error(logits, state.logits.view().slice(known, piece)), tolerance) << "from token " << known;
        known += piece;
        EXPECT_EQ(cache.length(), known);
    }
    EXPECT_EQ(known, batch.token_count());
    EXPECT_THROW((void)model.transformer.extend(std::array{1}, cache), Error);
}

TEST_F(TransformerTest, PrefillAndDecodingEqualOnePassInFloat64) {
    for (const char* norm : {"none", "projection", "head"}) {
        options.qk_norm = norm;
        TestModel model(options, *reference, DType::float64, world);
        expect_pieces_equal_one_pass(model, *reference, 1e-13);
    }
}

TEST_F(TransformerTest, PrefillAndDecodingEqualOnePassInFloat32) {
    TestModel model(options, *cpu, DType::float32, world);
    expect_pieces_equal_one_pass(model, *cpu, 1e-5);
}

// A capacity would make a token's logits depend on those beside it.
TEST_F(TransformerTest, CapacityActsInTrainingAlone) {
    options.capacity_factor = 0.5;
    TestModel model(options, *cpu, DType::float32, world);
    const MicroBatch batch = random_batch({30}, options.vocabulary, 4);
    const auto dropped = [&](bool training) {
        std::int64_t sum = 0;
        for (const auto& layer : model.transformer.forward(batch, {}, training).statistics()) sum += layer.dropped;
        return sum;
    };
    EXPECT_GT(dropped(true), 0);
    EXPECT_EQ(dropped(false), 0);
}

TEST_F(TransformerTest, NoiseDependsOnTheGlobalTokenAndActsInTrainingAlone) {
    options.router_noise = 0.7;
    TestModel model(options, *cpu, DType::float32, world);
    const MicroBatch batch = random_batch({6, 7, 8}, options.vocabulary, 5);
    const TokenScope scope{.seed = 3, .step = 2, .first_token = 0};
    const TransformerState noisy = model.transformer.forward(batch, scope, true);
    const TransformerState quiet = model.transformer.forward(batch, scope, false);
    EXPECT_FALSE(same_bits(noisy.logits, quiet.logits));

    const MicroBatch last = batch.share_of(1, 2);
    const TransformerState part =
        model.transformer.forward(last, {.seed = 3, .step = 2, .first_token = last.first_token}, true);
    EXPECT_TRUE(same_bits(part.logits, noisy.logits.view().slice(13, 8)));
}

TEST_F(TransformerTest, RefusesATokenOutsideTheVocabulary) {
    TestModel model(options, *cpu, DType::float32, world);
    MicroBatch batch = random_batch({3}, options.vocabulary, 5);
    batch.targets[1] = 37;
    EXPECT_THROW((void)model.transformer.forward(batch, {}, false), Error);
}

TEST(DescribeBlocksTest, CountsWhatTheOptionsCount) {
    for (const bool tied : {false, true}) {
        ModelOptions options = with_everything();
        options.tied_head = tied;
        options = options.resolved();
        std::int64_t sum = 0;
        for (const auto& block : describe_blocks(options)) sum += std::int64_t(block.count());
        EXPECT_EQ(sum, count_parameters(options).total);
    }
}

TEST(DescribeBlocksTest, OutputProjectionsStartSmallerAsLayersGrow) {
    const ModelOptions options = with_everything().resolved();
    int smaller = 0;
    for (const auto& block : describe_blocks(options))
        for (const auto& tensor : block.tensors) {
            const bool is_output = tensor.name.ends_with("output.weight") || tensor.name.ends_with("down.weight");
            EXPECT_DOUBLE_EQ(tensor.initial == TensorSpec::Initial::ones ? 0.2 : tensor.std,
                             is_output ? 0.2 / std::sqrt(8) : 0.2)
                << tensor.name;
            smaller += is_output;
        }
    EXPECT_EQ(smaller, 4 + 2 * (4 + 1) + 2);  // attention; experts and shared expert of two layers; two dense ones
}

}  // namespace
}  // namespace expar
