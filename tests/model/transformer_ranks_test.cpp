#include <gtest/gtest.h>

#include "expar/compute/cpu_device.hpp"
#include "expar/compute/rows.hpp"
#include "expar/moe/balance.hpp"
#include "test_model.hpp"

namespace expar {
namespace {

struct Case {
    const char* name;
    void (*change)(ModelOptions&);
};

const Case cases[] = {
    {"plain", [](ModelOptions&) {}},
    {"tied_and_dense_layers", [](ModelOptions& o) { o.tied_head = true, o.moe_every = 2; }},
    {"top_3_of_6_with_shared_expert", [](ModelOptions& o) { o.experts = 6, o.top_k = 3, o.shared_intermediate = 12; }},
    {"capacity_and_noise", [](ModelOptions& o) { o.capacity_factor = 0.8, o.router_noise = 0.5; }},
};

ModelOptions changed(const Case& how) {
    ModelOptions options = small_options();
    options.vocabulary = 37;
    options.hidden = 40;
    options.intermediate = 24;
    options.experts = 5;
    options.initial_std = 0.2;
    how.change(options);
    return options;
}

struct Step {
    TransformerState state;
    Matrix logits;  // a copy: backward overwrites those of the state
    Matrix d_embedded;
    std::vector<RouterStatistics> statistics;
};

// One rank's share of a training step: `all` is the batch of all ranks.
Step run(const TestModel& model, const MicroBatch& share, const MicroBatch& all, const Communicator& world,
         Device& device) {
    Step step;
    step.state = model.transformer.forward(share, {.seed = 1, .step = 4, .first_token = share.first_token}, true);
    const Matrix& logits = step.state.logits;
    step.logits = Matrix(device, DType::float32, logits.rows(), logits.cols());
    device.copy(logits.view().data(), step.logits.view().data(), logits.view().bytes(), device.stream());
    const ModelOptions& options = model.transformer.options();
    step.statistics = sum_over_ranks(step.state.statistics(), world);
    std::vector<std::vector<double>> d_probabilities;
    ObjectiveScales scales{1.0 / all.loss_count(), {}};
    for (const auto& layer : step.statistics)
        d_probabilities.push_back(
            balance_gradient(layer, options.top_k, options.balance_coefficient, all.token_count()));
    for (const auto& d_probability : d_probabilities)
        scales.routers.push_back({d_probability, options.z_coefficient / all.token_count()});
    step.d_embedded = model.transformer.backward(share, step.state, scales, [](ParameterBlock&) {});
    return step;
}

ParameterBlock* find(const Parameters& parameters, const std::string& name) {
    for (const auto& block : parameters.blocks())
        if (block->spec().tensors.front().name == name) return block.get();
    return nullptr;
}

class TransformerRanksTest : public testing::TestWithParam<Case> {
protected:
    // Compares this rank's share of a step on `ep` ranks per group with the same step on one rank.
    void compare(int ep, Placement placement) {
        TestModel spread(options, *device, DType::float32, world, ep, std::move(placement));
        const MicroBatch share = batch.share_of(world.rank(), world.size());
        const Step ours = run(spread, share, batch, world, *device);

        const Communicator alone = world.split(world.rank());
        TestModel single(options, *device, DType::float32, alone);
        const Step expected = run(single, batch, batch, alone, *device);

        const int first = int(share.first_token);
        EXPECT_TRUE(same_bits(ours.logits, expected.logits.view().slice(first, share.token_count())));
        EXPECT_TRUE(same_bits(ours.d_embedded, expected.d_embedded.view().slice(first, share.token_count())));
        for (std::size_t l = 0; l < ours.statistics.size(); ++l) {
            EXPECT_EQ(ours.statistics[l].choices, expected.statistics[l].choices);
            EXPECT_EQ(ours.statistics[l].dropped, expected.statistics[l].dropped);
            EXPECT_EQ(ours.statistics[l].dropped > 0, options.capacity_factor > 0);
        }
        if (ep == world.size()) compare_experts(spread.parameters, single.parameters);
    }

    // A gradient of an expert is added up where it lives, in the order of global tokens.
    static void compare_experts(const Parameters& ours, const Parameters& expected) {
        for (const auto& block : ours.blocks()) {
            if (block->spec().role != Role::expert) continue;
            const std::string& name = block->spec().tensors.front().name;
            ParameterBlock* other = find(expected, name);
            ASSERT_NE(other, nullptr) << name;
            EXPECT_TRUE(same_bits(block->flat_gradient(), other->flat_gradient())) << name;
        }
    }

    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_cpu_device(1);
    ModelOptions options = changed(GetParam());
    MicroBatch batch = random_batch({30, 7, 64, 1, 19}, options.vocabulary, 6);
};

TEST_P(TransformerRanksTest, ManyRanksComputeTheBitsOfOne) {
    compare(world.size(), linear_placement(options.layers, options.experts, world.size()));
}

TEST_P(TransformerRanksTest, AShuffledPlacementComputesTheBitsOfOneRank) {
    compare(world.size(), shuffled_placement(options.layers, options.experts, world.size(), 11));
}

TEST_P(TransformerRanksTest, SeveralGroupsComputeTheBitsOfOneRank) {
    if (world.size() % 2 != 0) GTEST_SKIP() << world.size() << " ranks do not form groups of 2";
    compare(2, linear_placement(options.layers, options.experts, 2));
}

TEST_P(TransformerRanksTest, RanksWithoutSequencesTakePart) {
    batch = random_batch({9, 5}, options.vocabulary, 7);
    compare(world.size(), linear_placement(options.layers, options.experts, world.size()));
}

INSTANTIATE_TEST_SUITE_P(Models, TransformerRanksTest, testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace expar
