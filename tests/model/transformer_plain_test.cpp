#include <gtest/gtest.h>

#include <array>
#include <tuple>

#include "expar/moe/balance.hpp"
#include "expar/moe/router.hpp"
#include "expar/verify/plain_model.hpp"
#include "test_model.hpp"

namespace expar {
namespace {

struct Case {
    const char* name;
    void (*change)(ModelOptions&);
};

const Case cases[] = {
    {"plain", [](ModelOptions&) {}},
    {"tied_head_and_dense_layers", [](ModelOptions& o) { o.tied_head = true, o.moe_every = 2; }},
    {"olmoe", [](ModelOptions& o) { o.router = "olmoe", o.qk_norm = "projection", o.top_k = 3; }},
    {"gpt_oss_with_noise", [](ModelOptions& o) { o.router = "gpt-oss", o.qk_norm = "head", o.router_noise = 0.5; }},
    {"switch_relu", [](ModelOptions& o) { o.router = "switch", o.top_k = 1, o.activation = "relu"; }},
    {"gelu_with_shared_expert", [](ModelOptions& o) { o.activation = "gelu", o.shared_intermediate = 9; }},
    {"gelu_tanh_with_gated_shared_expert",
     [](ModelOptions& o) { o.activation = "gelu_tanh", o.shared_intermediate = 9, o.shared = "gated"; }},
    {"capacity_of_all_ranks", [](ModelOptions& o) { o.capacity_factor = 0.7; }},
    {"capacity_and_balance_of_each_rank",
     [](ModelOptions& o) { o.capacity_factor = 0.7, o.capacity_scope = "rank", o.balance_scope = "rank"; }},
};

ModelOptions changed(const Case& how) {
    ModelOptions options = small_options();
    options.layers = 3;
    options.hidden = 12;
    options.experts = 5;
    options.vocabulary = 23;
    options.balance_coefficient = 0.3;
    options.z_coefficient = 0.05;
    how.change(options);
    return options.resolved();
}

PlainWeights weights_of(const Parameters& parameters) {
    PlainWeights weights;
    for (const auto& block : parameters.blocks())
        for (int i = 0; i < int(block->spec().tensors.size()); ++i) {
            auto& values = weights[block->spec().tensors[i].name];
            for (int r = 0; r < block->value(i).rows(); ++r) {
                const auto row = block->value(i).row<double>(r);
                values.insert(values.end(), row.begin(), row.end());
            }
        }
    return weights;
}

ConstRows as_rows(const std::vector<double>& values, int cols) {
    return {values.data(), int(values.size()) / cols, cols, DType::float64};
}

// Two micro-batches of unequal size; with more than two ranks, some have no sequence in the second.
class TransformerPlainTest : public testing::TestWithParam<Case> {
protected:
    struct Step {
        std::vector<TransformerState> states;
        std::vector<Matrix> d_embedded;
        double loss_sum = 0;
        std::vector<std::vector<RouterStatistics>> statistics;  ///< of all ranks, by micro-batch, then layer
        double balance_loss = 0;                                ///< mean over layers, of all scopes
        double z_loss = 0;
    };

    TransformerPlainTest() {
        micro_batches.push_back(random_batch({7, 3, 9, 1}, options.vocabulary, 1));
        micro_batches.push_back(random_batch({5, 12}, options.vocabulary, 2));
        micro_batches[1].first_token = micro_batches[0].token_count();
        micro_batches[0].targets[4] = -1;
    }

    [[nodiscard]] MicroBatch share(std::size_t m) const {
        return micro_batches[m].share_of(world.rank(), world.size());
    }
    [[nodiscard]] TokenScope scope(std::size_t m) const {
        return {.seed = 2, .step = 3, .first_token = share(m).first_token};
    }
    [[nodiscard]] int loss_tokens() const { return micro_batches[0].loss_count() + micro_batches[1].loss_count(); }
    [[nodiscard]] int tokens() const { return micro_batches[0].token_count() + micro_batches[1].token_count(); }

    Step run_ours() {
        Step step;
        const Scope balance_scope = scope_named(options.balance_scope);
        for (std::size_t m = 0; m < micro_batches.size(); ++m) {
            auto& state = step.states.emplace_back(model.transformer.forward(share(m), scope(m), true));
            step.loss_sum += state.loss_sum;
            const auto own = state.statistics();
            const auto& all = step.statistics.emplace_back(sum_over_ranks(own, world));
            std::vector<std::vector<double>> d_probabilities;
            for (std::size_t l = 0; l < own.size(); ++l)
                d_probabilities.push_back(balance_gradient(statistics_of(balance_scope, own[l], all[l]), options.top_k,
                                                           options.balance_coefficient, tokens()));
            for (std::size_t l = 0; l < own.size(); ++l) add_router_losses(step, own[l], all[l]);
            ObjectiveScales scales{1.0 / loss_tokens(), {}};
            for (const auto& d_probability : d_probabilities)
                scales.routers.push_back({d_probability, options.z_coefficient / tokens()});
            logits.push_back(copy_of(state.logits));
            step.d_embedded.push_back(model.transformer.backward(share(m), state, scales, [](ParameterBlock&) {}));
        }
        std::array sums{step.loss_sum, step.balance_loss, step.z_loss};
        world.sum(sums);
        std::tie(step.loss_sum, step.balance_loss, step.z_loss) = std::tie(sums[0], sums[1], sums[2]);
        return step;
    }

    // Adds this rank's share of the losses: with scope `all`, its tokens' share of what is common to all ranks.
    void add_router_losses(Step& step, const RouterStatistics& own, const RouterStatistics& all) const {
        const double layers = double(step.statistics.front().size());
        const RouterStatistics& balanced = statistics_of(scope_named(options.balance_scope), own, all);
        step.balance_loss += balance_loss(balanced, options.top_k) * double(own.tokens) / tokens() / layers;
        step.z_loss += own.squared_log_sum_exp / tokens() / layers;
    }

    PlainResult run_plain() {
        std::vector<PlainBatch> batches;
        for (const MicroBatch& all : micro_batches) {
            PlainBatch& batch = batches.emplace_back();
            batch.tokens = all.tokens;
            batch.targets = all.targets;
            batch.offsets = all.offsets;
            batch.rank_offsets = {0};
            for (int rank = 0; rank < world.size(); ++rank)
                batch.rank_offsets.push_back(batch.rank_offsets.back() +
                                             all.share_of(rank, world.size()).token_count());
            for (int layer = 0; layer < options.layers && options.router_noise > 0; ++layer)
                if (options.is_moe(layer)) batch.noise.push_back(noise(all, layer));
        }
        const TestModel single(options, *device, DType::float64, alone);
        return plain_step(options, weights_of(single.parameters), batches);
    }

    std::vector<double> noise(const MicroBatch& batch, int layer) {
        Matrix drawn = zero_matrix(*device, DType::float64, batch.token_count(), options.experts);
        perturb(drawn, options.router_noise, layer, {.seed = 2, .step = 3, .first_token = batch.first_token});
        const auto* first = static_cast<const double*>(drawn.view().data());
        return {first, first + std::size_t(drawn.rows()) * drawn.cols()};
    }

    Matrix copy_of(const Matrix& matrix) {
        Matrix copy(*device, matrix.dtype(), matrix.rows(), matrix.cols());
        device->copy(matrix.view().data(), copy.view().data(), copy.view().bytes(), device->stream());
        return copy;
    }

    // Every tensor held here, summed over the ranks that hold it.
    double largest_gradient_error(const PlainWeights& expected) {
        double largest = 0;
        for (const auto& block : model.parameters.blocks()) {
            const Rows flat = block->flat_gradient();
            if (block->spec().role != Role::expert)
                world.sum(std::span(static_cast<double*>(flat.data()), std::size_t(flat.cols())));
            for (int i = 0; i < int(block->spec().tensors.size()); ++i) {
                const TensorSpec& tensor = block->spec().tensors[i];
                const double error = relative_error(block->gradient(i), as_rows(expected.at(tensor.name), tensor.cols));
                EXPECT_LT(error, tolerance) << tensor.name;
                largest = std::max(largest, error);
            }
        }
        return largest;
    }

    // Both sides compute in float64; what parts them is the order of sums of at most some hundred terms.
    static constexpr double tolerance = 1e-12;

    Communicator world{MPI_COMM_WORLD};
    Communicator alone = world.split(world.rank());
    std::unique_ptr<Device> device = make_reference_device();
    ModelOptions options = changed(GetParam());
    TestModel model{options, *device, DType::float64, world};
    std::vector<MicroBatch> micro_batches;
    std::vector<Matrix> logits;
};

TEST_P(TransformerPlainTest, AStepIsThatOfTheLoopOverTokensAndExperts) {
    const Step step = run_ours();
    const PlainResult plain = run_plain();

    EXPECT_NEAR(step.loss_sum / loss_tokens(), plain.loss, tolerance * plain.loss);
    EXPECT_NEAR(step.balance_loss, plain.balance_loss, tolerance * plain.balance_loss);
    EXPECT_NEAR(step.z_loss, plain.z_loss, tolerance * plain.z_loss);
    double largest = largest_gradient_error(plain.gradients);
    for (std::size_t m = 0; m < micro_batches.size(); ++m) {
        const int first = int(share(m).first_token - micro_batches[m].first_token);
        const int count = share(m).token_count();
        const auto& expected = plain.micro_batches[m];
        const double logits_error =
            relative_error(logits[m], as_rows(expected.logits, options.vocabulary).slice(first, count));
        const double input_error =
            relative_error(step.d_embedded[m], as_rows(expected.d_embedded, options.hidden).slice(first, count));
        EXPECT_LT(logits_error, tolerance);
        EXPECT_LT(input_error, tolerance);
        largest = std::max({largest, logits_error, input_error});
        for (std::size_t l = 0; l < expected.routings.size(); ++l) {
            EXPECT_EQ(step.statistics[m][l].dropped, expected.routings[l].dropped);
            EXPECT_EQ(expected.routings[l].dropped > 0, options.capacity_factor > 0);
        }
    }
    RecordProperty("largest_error", testing::PrintToString(largest));
}

INSTANTIATE_TEST_SUITE_P(Models, TransformerPlainTest, testing::ValuesIn(cases),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace expar
