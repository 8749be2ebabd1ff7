#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "expar/compute/cpu_device.hpp"
#include "expar/store/checkpoint.hpp"
#include "expar/train/corpus.hpp"
#include "model_files.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

constexpr int saved_step = 3;
constexpr int last_step = 6;

// 5 experts divide by no number of ranks here but 1 and 5. Capacity drops, and noise is drawn anew in each step.
ModelOptions model_with_everything() {
    ModelOptions options;
    options.layers = 2;
    options.hidden = 16;
    options.heads = 2;
    options.intermediate = 12;
    options.experts = 5;
    options.capacity_factor = 1.2;
    options.router_noise = 0.1;
    options.shared_intermediate = 8;
    options.initial_std = 0.1;
    return options.resolved();
}

Corpus some_text() {
    std::string text;
    for (int i = 0; i < 300; ++i) text += "line " + std::to_string(i * i) + " of a text\n";
    return Corpus({{"text", text, true}});
}

class ResumeLayoutsTest : public testing::Test {
protected:
    ResumeLayoutsTest() : path(world.broadcast((folder / "step-000003.h5").string(), 0)) {}

    [[nodiscard]] TrainOptions options(int ep) const {
        return {.ep = ep,
                .sequence = 12,
                .batch = 7,
                .accumulation = 2,
                .steps = last_step,
                .warmup_steps = 2,
                .seed = 5,
                .learning_rate = 1e-2};
    }
    [[nodiscard]] std::unique_ptr<Trainer> trainer(int ep, const Communicator& ranks) const {
        return std::make_unique<Trainer>(model_with_everything(), options(ep), *device, ranks);
    }
    // The losses of the steps that lie before the trainer, up to `last`.
    std::vector<double> train(Trainer& trainer, int last, const Communicator& ranks) const {
        std::vector<double> losses;
        while (trainer.steps_done() < last) {
            const TrainOptions how = options(1);
            const BatchDraw draw{
                .seed = how.seed, .step = trainer.steps_done() + 1, .sequences = how.batch, .length = how.sequence};
            losses.push_back(trainer.step(draw_step(text, draw, how.accumulation, ranks)).loss);
        }
        return losses;
    }
    void save(Trainer& trainer, const Communicator& ranks) const {
        CheckpointHeader header;
        header.step = trainer.steps_done();
        header.placement = trainer.placement();
        header.has_moments = true;
        save_checkpoint(path, header, blocks_of(trainer), ranks);
    }
    void load(Trainer& trainer, const Communicator& ranks) const {
        const CheckpointReader reader(path, ranks);
        reader.load(blocks_of(trainer));
        trainer.set_steps_done(reader.header().step);
    }

    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_cpu_device(1);
    Corpus text = some_text();
    testing_support::TemporaryFolder folder;
    std::filesystem::path path;
};

TEST_F(ResumeLayoutsTest, GoesOnBitForBitInTheSameLayout) {
    for (int ep = 1; ep <= world.size(); ++ep) {
        if (world.size() % ep != 0) continue;
        const auto whole = trainer(ep, world);
        auto expected = train(*whole, last_step, world);
        {
            const auto interrupted = trainer(ep, world);
            train(*interrupted, saved_step, world);
            save(*interrupted, world);
        }
        const auto resumed = trainer(ep, world);
        load(*resumed, world);
        const auto found = train(*resumed, last_step, world);

        expected.erase(expected.begin(), expected.begin() + saved_step);
        EXPECT_EQ(found, expected) << "EP=" << ep;
        const auto ends = blocks_of(*whole), resumed_ends = blocks_of(*resumed);
        for (std::size_t b = 0; b < ends.size(); ++b) {
            if (!ends[b].is_here()) continue;
            for (const Quantity quantity : all_quantities)
                EXPECT_TRUE(std::ranges::equal(ends[b].rows(quantity).row<float>(0),
                                               resumed_ends[b].rows(quantity).row<float>(0)))
                    << "EP=" << ep << ", " << ends[b].spec.tensors.front().name;
        }
    }
}

// The first loss comes from the same weights, and under `exact` every row of it has the same bits: only the float64 sum
// over ranks is regrouped. After that gradients that were summed in another grouping have moved the weights: they
// differ by some 1e-7 of the largest (float32), AdamW's quotient of the two moments passes that on, and a loss moves by
// the learning rate times it, below 1e-6 in a few steps.
TEST_F(ResumeLayoutsTest, GoesOnWithTheSameModelInAnyOtherLayout) {
    const int ranks_before = std::min(4, world.size());
    const int ep_before = ranks_before % 2 == 0 ? 2 : 1;
    std::vector<double> expected(last_step - saved_step);
    {
        const Communicator some = world.split(world.rank() < ranks_before ? 0 : 1);
        if (world.rank() < ranks_before) {
            const auto whole = trainer(ep_before, some);
            train(*whole, saved_step, some);
            save(*whole, some);
            expected = train(*whole, last_step, some);
        }
    }
    world.broadcast(Rows(expected.data(), 1, int(expected.size()), DType::float64), 0);

    double first = 0, later = 0;
    for (int ranks = 1; ranks <= world.size(); ++ranks) {
        const Communicator some = world.split(world.rank() < ranks ? 0 : 1);
        for (int ep = 1; ep <= ranks; ++ep) {
            if (ranks % ep != 0 || world.rank() >= ranks) continue;
            const auto resumed = trainer(ep, some);
            load(*resumed, some);
            const auto found = train(*resumed, last_step, some);
            ASSERT_EQ(found.size(), expected.size());
            for (std::size_t i = 0; i < found.size(); ++i) {
                const double difference = std::abs(found[i] - expected[i]);
                EXPECT_LE(difference, i == 0 ? 1e-12 : 1e-6)
                    << ranks << " ranks, EP=" << ep << ", step " << saved_step + 1 + i;
                (i == 0 ? first : later) = std::max(i == 0 ? first : later, difference);
            }
        }
    }
    if (world.rank() == 0) {
        std::cout << "largest differences of losses: " << first << " in the first step, " << later << " later\n";
    }
}

}  // namespace
}  // namespace expar::cli
