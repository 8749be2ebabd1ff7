#include "expar/train/objective.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "expar/moe/dispatcher.hpp"
#include "expar/train/gradient_reducer.hpp"

namespace expar {
namespace {

// A model in float64 on all ranks of a communicator, which form one EP group.
struct SmallModel {
    Layout layout;
    Placement placement;
    std::unique_ptr<Dispatcher> dispatcher;
    MoeRuntime runtime;
    Parameters parameters;
    Transformer transformer;
    GradientReducer reducer;

    SmallModel(const ModelOptions& options, Device& device, const Communicator& world)
        : layout(world.size(), world.size()),
          placement(linear_placement(options.layers, options.experts, world.size())),
          dispatcher(make_packed_dispatcher("native", world, device)),
          runtime{&device, dispatcher.get(), &world, &placement, world.rank()},
          parameters(device, DType::float64, options, placement, world.rank()),
          transformer(options, CombineOrder::exact, runtime, parameters, DType::float64),
          reducer(device, parameters.blocks(), placement, layout, world) {
        parameters.initialize(11);
    }
    [[nodiscard]] ParameterBlock* find(const std::string& name) {
        for (const auto& block : parameters.blocks())
            if (block->spec().name() == name) return block.get();
        return nullptr;
    }
};

ModelOptions small_options(const std::string& scope) {
    ModelOptions options;
    options.vocabulary = 11;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 2;
    options.intermediate = 6;
    options.experts = 4;
    options.top_k = 2;
    options.router_noise = 0.1;
    options.initial_std = 0.3;
    options.balance_coefficient = 0.2;
    options.balance_scope = scope;
    options.z_coefficient = 0.05;
    return options.resolved();
}

// Two micro-batches of unequal size; some tokens bear no loss, so that T_loss is not T_rows.
std::vector<MicroBatch> small_batches() {
    std::vector<MicroBatch> batches(2);
    int next = 3;
    const auto sequence = [&](int length) {
        std::vector<int> text;
        for (int i = 0; i < length; ++i) text.push_back(next = (next * 7 + 2 + i) % 11);
        return text;
    };
    for (const int length : {6, 3, 9}) batches[0].append(sequence(length));
    for (const int length : {4, 2}) batches[1].append(sequence(length));
    batches[0].targets[1] = batches[0].targets[8] = batches[1].targets[0] = -1;
    batches[1].first_token = batches[0].token_count();
    return batches;
}

std::vector<MicroBatch> shares_of(const std::vector<MicroBatch>& batches, const Communicator& world) {
    std::vector<MicroBatch> shares;
    for (const auto& batch : batches) shares.push_back(batch.share_of(world.rank(), world.size()));
    return shares;
}

ObjectiveValue run(SmallModel& model, std::span<const MicroBatch> shares, const Communicator& world, bool backward) {
    Objective objective(model.transformer.options(), shares, world);
    if (backward) model.parameters.clear_gradients();
    for (std::size_t m = 0; m < shares.size(); ++m) {
        TransformerState state = model.transformer.forward(shares[m], {5, 1, shares[m].first_token}, true);
        const ObjectiveScales scales = objective.add(state);
        if (!backward) continue;
        static_cast<void>(model.transformer.backward(shares[m], state, scales, [&](ParameterBlock& block) {
            if (m + 1 == shares.size()) model.reducer.ready(block);
        }));
    }
    if (backward) model.reducer.finish();
    return objective.value();
}

class ObjectiveTest : public testing::TestWithParam<std::string> {
protected:
    Communicator world{MPI_COMM_WORLD};
    Communicator alone{MPI_COMM_SELF};
    std::unique_ptr<Device> device = make_reference_device();
    ModelOptions options = small_options(GetParam());
    std::vector<MicroBatch> batches = small_batches();
};

// The gradients that the ranks add up are the derivative of the one objective that the step reports.
TEST_P(ObjectiveTest, HasTheGradientThatTheRanksSum) {
    SmallModel model(options, *device, world);
    const auto shares = shares_of(batches, world);
    static_cast<void>(run(model, shares, world, true));
    constexpr double difference = 1e-5;
    for (const BlockSpec& spec : describe_blocks(options)) {
        ParameterBlock* block = model.find(spec.name());
        for (const std::size_t element : {std::size_t{0}, spec.count() / 2, spec.count() - 1}) {
            const auto objective_at = [&](double change) {
                double* value = block ? &block->change_flat().row<double>(0)[element] : nullptr;
                if (value) *value += change;
                const double objective = run(model, shares, world, false).objective;
                if (value) *value -= change;
                return objective;
            };
            const double expected = (objective_at(difference) - objective_at(-difference)) / (2 * difference);
            if (!block) continue;
            EXPECT_NEAR(block->flat_gradient().row<double>(0)[element], expected, 1e-8 + 1e-6 * std::abs(expected))
                << spec.name() << " [" << element << "]";
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Scopes, ObjectiveTest, testing::Values("all", "rank"),
                         [](const auto& info) { return info.param; });

using WholeObjectiveTest = ObjectiveTest;

// With every statistic over all ranks, the number of ranks changes nothing but the order of some sums.
TEST_P(WholeObjectiveTest, IsTheSameOnOneRankAndOnMany) {
    SmallModel model(options, *device, world);
    SmallModel reference(options, *device, alone);
    const ObjectiveValue found = run(model, shares_of(batches, world), world, true);
    const ObjectiveValue expected = run(reference, batches, alone, true);

    EXPECT_NEAR(found.loss / expected.loss, 1, 1e-12);
    EXPECT_NEAR(found.balance_loss / expected.balance_loss, 1, 1e-12);
    EXPECT_NEAR(found.z_loss / expected.z_loss, 1, 1e-12);
    EXPECT_NEAR(found.objective / expected.objective, 1, 1e-12);
    EXPECT_EQ(found.choices, expected.choices);
    EXPECT_EQ(found.load_max_over_mean, expected.load_max_over_mean);
    for (const auto& block : model.parameters.blocks()) {
        const auto gradient = block->flat_gradient().row<double>(0);
        const auto wanted = reference.find(block->spec().name())->flat_gradient().row<double>(0);
        double largest = 0, error = 0;
        for (std::size_t i = 0; i < gradient.size(); ++i) {
            largest = std::max(largest, std::abs(wanted[i]));
            error = std::max(error, std::abs(gradient[i] - wanted[i]));
        }
        EXPECT_LE(error, 1e-12 * largest) << block->spec().name();
    }
}

INSTANTIATE_TEST_SUITE_P(Scope, WholeObjectiveTest, testing::Values("all"),
                         [](const auto& info) { return info.param; });

// Balanced is 1: with all logits equal every probability is 1 / E, whatever is chosen.
TEST(Objective, ReportsABalanceLossOfOneForEqualProbabilities) {
    const Communicator world(MPI_COMM_WORLD);
    const auto device = make_reference_device();
    ModelOptions options = small_options("all");
    options.router_noise = 0;
    SmallModel model(options, *device, world);
    for (const auto& block : model.parameters.blocks())
        if (block->spec().role == Role::router)
            for (double& weight : block->change_flat().row<double>(0)) weight = 0;
    const ObjectiveValue value = run(model, shares_of(small_batches(), world), world, false);
    EXPECT_NEAR(value.balance_loss, 1, 1e-12);
    EXPECT_NEAR(value.z_loss, std::pow(std::log(4.0), 2), 1e-12);
    EXPECT_EQ(value.load_max_over_mean, 2);  // ties go to the lowest ids: two of four experts have all
    EXPECT_EQ(value.choices, 2 * 2 * 19);
    EXPECT_NEAR(value.objective, value.loss + 2 * (0.2 * value.balance_loss + 0.05 * value.z_loss), 1e-12);
}

}  // namespace
}  // namespace expar
