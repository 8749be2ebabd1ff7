#include <gtest/gtest.h>

#include "expar/moe/balance.hpp"
#include "support/gradient_check.hpp"
#include "test_model.hpp"

namespace expar {
namespace {

struct Case {
    const char* name;
    void (*change)(ModelOptions&);
};

const Case cases[] = {
    {"plain", [](ModelOptions&) {}},
    {"tied_head", [](ModelOptions& o) { o.tied_head = true; }},
    {"every_second_layer_dense", [](ModelOptions& o) { o.moe_every = 2, o.layers = 3; }},
    {"all_dense_gelu", [](ModelOptions& o) { o.moe_every = 3, o.activation = "gelu"; }},
    {"gated_shared_expert", [](ModelOptions& o) { o.shared_intermediate = 5, o.shared = "gated"; }},
    {"norm_of_heads_and_gpt_oss", [](ModelOptions& o) { o.qk_norm = "head", o.router = "gpt-oss"; }},
    {"top_1_keeps_its_probability", [](ModelOptions& o) { o.router = "switch", o.top_k = 1; }},
    {"capacity_drops", [](ModelOptions& o) { o.router = "olmoe", o.capacity_factor = 0.75; }},
};

class TransformerGradientTest : public testing::TestWithParam<Case> {
protected:
    TransformerGradientTest() : options(changed()), model(options, *device, DType::float64, world) {}
    static ModelOptions changed() {
        ModelOptions options = small_options();
        options.balance_coefficient = 0.5;
        options.z_coefficient = 0.1;
        GetParam().change(options);
        return options;
    }

    [[nodiscard]] double objective(const TransformerState& state) const {
        double sum = state.loss_sum / batch.loss_count();
        for (const RouterStatistics& layer : state.statistics())
            sum += options.balance_coefficient * balance_loss(layer, options.top_k) +
                   options.z_coefficient * layer.squared_log_sum_exp / double(layer.tokens);
        return sum;
    }

    Matrix run_backward() {
        TransformerState state = model.transformer.forward(batch, {}, true);
        std::vector<std::vector<double>> d_probabilities;
        for (const RouterStatistics& layer : state.statistics()) {
            dropped += layer.dropped;
            d_probabilities.push_back(
                balance_gradient(layer, options.top_k, options.balance_coefficient, batch.token_count()));
        }
        ObjectiveScales scales{1.0 / batch.loss_count(), {}};
        for (const auto& d_probability : d_probabilities)
            scales.routers.push_back({d_probability, options.z_coefficient / batch.token_count()});
        return model.transformer.backward(batch, state, scales,
                                          [&](ParameterBlock& block) { ready.push_back(&block); });
    }

    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_reference_device();
    ModelOptions options;
    TestModel model;
    MicroBatch batch = [] {
        MicroBatch random = random_batch({4, 1, 5}, small_options().vocabulary, 8);
        random.targets[2] = -1;
        return random;
    }();
    std::vector<const ParameterBlock*> ready;
    std::int64_t dropped = 0;
};

TEST_P(TransformerGradientTest, MatchesFiniteDifferences) {
    (void)run_backward();
    EXPECT_EQ(dropped > 0, options.capacity_factor > 0);
    double largest = 0;
    for (const auto& block : model.parameters.blocks()) {
        const double error = gradient_error(block->change_flat(), block->flat_gradient(),
                                            [&] { return objective(model.transformer.forward(batch, {}, true)); });
        EXPECT_LT(error, 1e-7) << block->spec().name() << ", first tensor " << block->spec().tensors.front().name;
        largest = std::max(largest, error);
    }
    RecordProperty("largest_error", testing::PrintToString(largest));
}

// Reduction may start with the first block that is ready, and must see none that changes afterwards.
TEST_P(TransformerGradientTest, BlocksAreReadyOnceInReverseOrder) {
    (void)run_backward();
    const auto blocks = model.parameters.blocks();
    ASSERT_EQ(ready.size(), blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) EXPECT_EQ(ready[i], blocks[blocks.size() - 1 - i].get());
}

TEST_P(TransformerGradientTest, ABlockDoesNotChangeAfterItIsReady) {
    TransformerState state = model.transformer.forward(batch, {}, true);
    ObjectiveScales scales{1, std::vector<RouterGradient>(state.statistics().size())};
    std::vector<std::pair<ParameterBlock*, Matrix>> seen;
    (void)model.transformer.backward(batch, state, scales, [&](ParameterBlock& block) {
        const Rows gradient = block.flat_gradient();
        Matrix copy(*device, DType::float64, 1, gradient.cols());
        device->copy(gradient.data(), copy.view().data(), gradient.bytes(), device->stream());
        seen.emplace_back(&block, std::move(copy));
    });
    for (const auto& [block, gradient] : seen)
        EXPECT_TRUE(same_bits(gradient, block->flat_gradient())) << block->spec().name();
}

INSTANTIATE_TEST_SUITE_P(Models, TransformerGradientTest, testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace expar
