#include "batch_recorder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "expar/train/corpus.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

ModelOptions small_model() {
    ModelOptions options;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 2;
    options.intermediate = 4;
    options.experts = 5;
    options.top_k = 3;
    options.moe_every = 2;
    return options;
}

std::vector<int> read(const Hdf5File& file, const std::string& name) {
    std::vector<int> values(count_of(file.shape(name)));
    file.read(name, values);
    return values;
}

// Four sequences of 7 tokens over 1 or 3 ranks: shares of unequal size.
TEST(BatchRecorder, WritesTheMicroBatchOfAllRanksAndItsChoices) {
    const Communicator world(MPI_COMM_WORLD);
    const testing_support::TemporaryFolder folder;
    const std::string path = world.broadcast((folder / "batches.h5").string(), 0);
    const Corpus corpus({{"one", std::string(300, 'a') + "bcdefghijkl" + std::string(200, 'z')}});
    TrainOptions options;
    options.sequence = 7;
    options.batch = 4;
    const auto device = make_reference_device();
    Trainer trainer(small_model(), options, *device, world);

    BatchDraw draw{.seed = 5, .step = 1, .sequences = 4, .length = 7};
    BatchRecorder recorder(path, world);
    for (draw.step = 1; draw.step <= 2; ++draw.step) {
        recorder.begin_step(draw.step);
        trainer.step(draw_step(corpus, draw, 2, world), &recorder);
    }
    recorder.finish();
    if (world.rank() != 0) return;

    const Hdf5File file = Hdf5File::open(path);
    EXPECT_EQ(file.names(""), (std::vector<std::string>{"step-000001", "step-000002"}));
    draw.step = 2;
    draw.micro_batch = 1;
    const MicroBatch expected = batch_of(corpus.draw(draw));
    const std::string group = "step-000002/micro-1/";
    EXPECT_EQ(read(file, group + "tokens"), expected.tokens);
    EXPECT_EQ(read(file, group + "targets"), expected.targets);
    EXPECT_EQ(read(file, group + "offsets"), expected.offsets);
    EXPECT_FALSE(file.contains(group + "choices_layer_0"));  // a dense layer
    EXPECT_EQ(file.shape(group + "choices_layer_1"), (Hdf5File::Shape{28, 3}));
    for (const int expert : read(file, group + "choices_layer_1")) EXPECT_TRUE(expert >= 0 && expert < 5);
}

}  // namespace
}  // namespace expar::cli
