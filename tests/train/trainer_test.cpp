#include "expar/train/trainer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <ostream>

#include "expar/base/error.hpp"
#include "expar/base/random.hpp"
#include "expar/compute/cpu_device.hpp"
#include "held_blocks.hpp"

namespace expar {
namespace {

struct Variant {
    std::string name;
    ModelOptions model;
};
void PrintTo(const Variant& variant, std::ostream* out) {
    *out << variant.name;
}

ModelOptions small_model() {
    ModelOptions options;
    options.vocabulary = 61;
    options.layers = 2;
    options.hidden = 32;
    options.heads = 4;
    options.kv_heads = 2;
    options.intermediate = 24;
    options.experts = 6;
    options.initial_std = 0.1;
    return options;
}

// Capacity that drops, noise on the logits, a gated shared expert, one layer without experts.
ModelOptions model_with_everything() {
    ModelOptions options = small_model();
    options.layers = 4;
    options.moe_every = 2;
    options.capacity_factor = 1;
    options.router_noise = 0.2;
    options.shared_intermediate = 16;
    options.shared = "gated";
    options.qk_norm = "projection";
    options.tied_head = true;
    return options;
}

std::vector<MicroBatch> batches_of(int step) {
    std::vector<MicroBatch> batches(2);
    std::int64_t first_token = 0;
    for (int m = 0; m < 2; ++m) {
        batches[m].first_token = first_token;
        for (int s = 0; s < 9; ++s) {
            const RandomField random(1, Purpose::test, std::uint32_t(m), std::uint32_t(step));
            std::vector<int> text(std::size_t(3 + (5 * s + step) % 11));
            for (std::size_t i = 0; i < text.size(); ++i) text[i] = int(random.below(61, std::uint64_t(s) * 100 + i));
            batches[m].append(text);
        }
        first_token += batches[m].token_count();
    }
    return batches;
}

std::vector<MicroBatch> shares_of(const std::vector<MicroBatch>& batches, const Communicator& world) {
    std::vector<MicroBatch> shares;
    for (const auto& batch : batches) shares.push_back(batch.share_of(world.rank(), world.size()));
    return shares;
}

// What the experts' gradients were before they were used, by name.
struct ExpertGradients : StepObserver {
    Trainer* trainer = nullptr;
    std::map<std::string, std::vector<float>> found;

    void after_forward(int, const MicroBatch&, const TransformerState&) override {}
    void after_backward(int, const Matrix&) override {}
    void before_update(const StepReport&) override {
        for (const auto& block : trainer->parameters().blocks()) {
            if (block->spec().role != Role::expert) continue;
            const auto gradient = block->flat_gradient().row<float>(0);
            found[block->spec().name()] = {gradient.begin(), gradient.end()};
        }
    }
};

class TrainerTest : public testing::TestWithParam<Variant> {
protected:
    Communicator world{MPI_COMM_WORLD};
    Communicator alone{MPI_COMM_SELF};
    std::unique_ptr<Device> device = make_cpu_device(1);
    TrainOptions options{.steps = 10, .seed = 3, .learning_rate = 1e-2, .clip = 0.5};

    struct Outcome {
        std::vector<StepReport> reports;
        ExpertGradients first;  // of the first step
    };
    Outcome train(Trainer& trainer, const Communicator& ranks) const {
        Outcome outcome;
        outcome.first.trainer = &trainer;
        for (int step = 1; step <= 3; ++step)
            outcome.reports.push_back(
                trainer.step(shares_of(batches_of(step), ranks), step == 1 ? &outcome.first : nullptr));
        return outcome;
    }
    static void expect_alike(const StepReport& found, const StepReport& expected, const std::string& where) {
        const auto near = [&](double a, double b, double tolerance, const char* what) {
            EXPECT_NEAR(a / b, 1, tolerance) << where << ", step " << found.step << ", " << what;
        };
        near(found.loss, expected.loss, 1e-5, "loss");
        near(found.objective, expected.objective, 1e-5, "objective");
        near(found.balance_loss, expected.balance_loss, 1e-5, "balance loss");
        near(found.z_loss, expected.z_loss, 1e-5, "z loss");
        near(found.norm.dense, expected.norm.dense, 1e-4, "dense norm");
        near(found.norm.router, expected.norm.router, 1e-4, "router norm");
        near(found.norm.experts, expected.norm.experts, 1e-4, "experts' norm");
        near(found.clip_factor, expected.clip_factor, 1e-4, "clip factor");
        EXPECT_EQ(found.tokens, expected.tokens) << where;
        EXPECT_EQ(found.choices, expected.choices) << where;
        EXPECT_EQ(found.dropped, expected.dropped) << where;
        near(found.router_entropy, expected.router_entropy, 1e-4, "entropy");
        ASSERT_EQ(found.routers.size(), expected.routers.size()) << where;
        for (std::size_t layer = 0; layer < found.routers.size(); ++layer)
            EXPECT_EQ(found.routers[layer].choices, expected.routers[layer].choices) << where;
    }
};

// One rank trains on the whole batch, beside it all ranks together, in every layout and with every kind of placement.
TEST_P(TrainerTest, LearnsTheSameInEveryLayout) {
    const ModelOptions model = GetParam().model;
    options.ep = 1;
    Trainer reference(model, options, *device, alone);
    const Outcome expected = train(reference, alone);
    EXPECT_LT(expected.reports[0].clip_factor, 1);
    EXPECT_EQ(expected.reports[0].dropped > 0, model.capacity_factor > 0);

    for (const auto& hosted : hosted_models(world.size(), model.layers, model.experts)) {
        options.ep = hosted.layout.ep();
        Trainer trainer(model, options, hosted.placement, *device, world);
        const Outcome found = train(trainer, world);
        for (int step = 0; step < 3; ++step) expect_alike(found.reports[step], expected.reports[step], hosted.name);

        // An expert that one rank alone hosts sees the rows of all tokens, in their order.
        for (const auto& block : trainer.parameters().blocks()) {
            if (block->spec().role != Role::expert || hosts_of(hosted, block->spec()).size() > 1) continue;
            const auto& gradient = found.first.found.at(block->spec().name());
            const auto& wanted = expected.first.found.at(block->spec().name());
            EXPECT_EQ(std::memcmp(gradient.data(), wanted.data(), wanted.size() * sizeof(float)), 0)
                << hosted.name << ", " << block->spec().name();
        }
    }
}

// When gradients travel, and whether a layer's forward is run once or twice, is a matter of time and memory alone.
TEST_P(TrainerTest, NeitherOverlapNorRecomputationChangesABit) {
    ModelOptions model = GetParam().model;
    model.router_noise = 0.3;
    for (const int ep : {1, world.size()}) {
        options.ep = ep;
        Trainer plain(model, options, *device, world);
        const Outcome expected = train(plain, world);
        for (const bool recompute : {false, true}) {
            TrainOptions other = options;
            other.overlap_gradients = recompute;
            other.recompute = recompute;
            Trainer trainer(model, other, *device, world);
            const Outcome found = train(trainer, world);
            for (std::size_t step = 0; step < found.reports.size(); ++step) {
                EXPECT_EQ(found.reports[step].objective, expected.reports[step].objective);
                EXPECT_EQ(found.reports[step].dropped, expected.reports[step].dropped);
                EXPECT_EQ(found.reports[step].routers.front().choices, expected.reports[step].routers.front().choices);
            }
            const auto blocks = trainer.parameters().blocks(), others = plain.parameters().blocks();
            ASSERT_EQ(blocks.size(), others.size());
            for (std::size_t i = 0; i < blocks.size(); ++i)
                EXPECT_TRUE(
                    std::ranges::equal(blocks[i]->flat_value().row<float>(0), others[i]->flat_value().row<float>(0)))
                    << blocks[i]->spec().name() << ", EP=" << ep << (recompute ? ", recomputed" : ", not overlapped");
        }
    }
}

TEST_P(TrainerTest, EvaluatesWhatItWouldTrainOnWithoutNoiseAndCapacity) {
    ModelOptions model = GetParam().model;
    model.router_noise = model.capacity_factor = 0;
    Trainer trainer(model, options, *device, world);
    const auto shares = shares_of({batches_of(1)[0]}, world);
    const auto evaluation = trainer.evaluate(shares[0]);
    const StepReport report = trainer.step(shares);
    EXPECT_EQ(evaluation.tokens, report.tokens);
    EXPECT_NEAR(evaluation.loss_sum / double(evaluation.tokens) / report.loss, 1, 1e-12);
    EXPECT_EQ(trainer.steps_done(), 1);
    ASSERT_EQ(evaluation.routers.size(), report.routers.size());
    for (std::size_t layer = 0; layer < report.routers.size(); ++layer)
        EXPECT_EQ(evaluation.routers[layer].choices, report.routers[layer].choices);
}

// Every rank's experts get the rows that chose them: what they all got is in the report, where they are in the
// placement.
TEST_P(TrainerTest, ReportsTheRowsOfTheBusiestRank) {
    ModelOptions model = GetParam().model;
    model.capacity_factor = 0;  // nothing is dropped
    options.placement = "shuffled";
    Trainer trainer(model, options, *device, world);
    const StepReport report = trainer.step(shares_of(batches_of(1), world));
    double worst = 0;
    std::int64_t choices = 0;
    std::size_t next = 0;
    for (int layer = 0; layer < model.layers; ++layer) {
        if (!model.is_moe(layer)) continue;
        const auto& loads = report.routers.at(next++).choices;
        const auto total = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
        choices += total;
        for (int rank = 0; rank < world.size(); ++rank) {
            std::int64_t rows = 0;
            for (const int expert : trainer.placement().experts_on(layer, rank)) rows += loads[expert];
            worst = std::max(worst, double(rows) * world.size() / double(total));
        }
    }
    EXPECT_EQ(next, report.routers.size());
    EXPECT_EQ(choices, report.choices);
    EXPECT_DOUBLE_EQ(report.rank_load_max_over_mean, worst);
    EXPECT_GT(report.router_entropy, 0);
    EXPECT_LE(report.router_entropy, std::log(model.experts));
}

// What is in no step is in none of its phases.
TEST_P(TrainerTest, ReportsTheSecondsOfItsPhases) {
    Trainer trainer(GetParam().model, options, *device, world);
    for (int step = 1; step <= 2; ++step) {
        const StepReport report = trainer.step(shares_of(batches_of(step), world));
        const auto of = [&](Phase phase) { return report.phase_seconds[std::size_t(phase)]; };
        for (const Phase phase : {Phase::embed, Phase::attention, Phase::router, Phase::dispatch, Phase::experts,
                                  Phase::combine, Phase::head, Phase::experts_backward, Phase::reduce, Phase::update})
            EXPECT_GT(of(phase), 0) << name_of(phase);
        EXPECT_EQ(of(Phase::dense) > 0, GetParam().model.moe_every > 1);
        EXPECT_EQ(of(Phase::shared) > 0, GetParam().model.shared_intermediate > 0);
        EXPECT_EQ(of(Phase::data), 0);
    }
}

INSTANTIATE_TEST_SUITE_P(Models, TrainerTest,
                         testing::Values(Variant{"plain", small_model()}, Variant{"full", model_with_everything()}),
                         [](const auto& info) { return info.param.name; });

class BadTraining : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_cpu_device(1);
    Trainer trainer{small_model(), TrainOptions{}, *device, world};

    [[nodiscard]] std::string refusal(StepObserver* observer = nullptr) {
        std::string line = "accepted";
        try {
            trainer.step(shares_of(batches_of(1), world), observer);
        } catch (const UserError& error) {
            line = error.what();
        }
        EXPECT_EQ(line, world.broadcast(line, 0)) << "every rank must throw alike";
        return line;
    }
};

TEST_F(BadTraining, NamesStepLayerAndRankOfALossThatIsNotFinite) {
    trainer.set_steps_done(11);
    if (world.rank() == world.size() - 1)
        for (ParameterBlock* block : trainer.parameters().of_layer(1))
            if (block->spec().role == Role::dense)
                block->change_flat().row<float>(0)[0] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(refusal(), concat("step 12: the loss is not finite; layer 1 on rank ", world.size() - 1,
                                " is the first with a value that is not"));
    EXPECT_EQ(trainer.steps_done(), 11);
}

TEST_F(BadTraining, NamesTheBlockOfAGradientThatIsNotFinite) {
    struct Spoil : StepObserver {
        Trainer* trainer = nullptr;
        void after_forward(int, const MicroBatch&, const TransformerState&) override {}
        void after_backward(int, const Matrix&) override {
            trainer->parameters().blocks()[1]->flat_gradient().row<float>(0)[3] = HUGE_VALF;
        }
        void before_update(const StepReport&) override { ADD_FAILURE() << "the weights would change"; }
    } spoil;
    spoil.trainer = &trainer;
    EXPECT_EQ(refusal(&spoil),
              "step 1: the gradient is not finite; layers.0 on rank 0 is the first with a value that is not");
}

}  // namespace
}  // namespace expar
