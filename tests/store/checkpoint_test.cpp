#include "expar/store/checkpoint.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "expar/store/hdf5_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

// Two layers, one of them dense; 5 experts divide by no number of ranks here but 1.
ModelOptions small_model() {
    ModelOptions options;
    options.vocabulary = 11;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 2;
    options.intermediate = 6;
    options.experts = 5;
    options.moe_every = 2;
    options.shared_intermediate = 4;
    options.shared = "gated";
    options.qk_norm = "head";
    return options.resolved();
}

// A rank's part of a model with moments, without a trainer.
class Model {
public:
    Model(Placement placement, Layout layout, const Communicator& world, std::uint64_t seed)
        : parameters_(*device_, DType::float32, options_, placement, layout.member_of(world.rank())),
          blocks_(stored_blocks(options_, parameters_, placement, layout)) {
        parameters_.initialize(seed);
        for (auto& block : blocks_) {
            if (!block.is_here()) continue;
            block.moment1 = add_moment(block, 2);
            block.moment2 = add_moment(block, 3);
        }
    }
    [[nodiscard]] const std::vector<StoredBlock>& blocks() const { return blocks_; }

    void expect_equal(const Model& other) const {
        ASSERT_EQ(blocks_.size(), other.blocks_.size());
        for (std::size_t i = 0; i < blocks_.size(); ++i) {
            if (!blocks_[i].is_here()) continue;
            const auto same = [&](Rows StoredBlock::*rows) {
                return std::ranges::equal((blocks_[i].*rows).row<float>(0), (other.blocks_[i].*rows).row<float>(0));
            };
            EXPECT_TRUE(same(&StoredBlock::value)) << blocks_[i].spec.tensors.front().name;
            EXPECT_TRUE(same(&StoredBlock::moment1)) << blocks_[i].spec.tensors.front().name;
            EXPECT_TRUE(same(&StoredBlock::moment2)) << blocks_[i].spec.tensors.front().name;
        }
    }

private:
    Rows add_moment(const StoredBlock& block, float factor) {
        moments_.emplace_back(*device_, DType::float32, 1, block.value.cols());
        std::ranges::transform(block.value.row<float>(0), moments_.back().view().row<float>(0).begin(),
                               [factor](float value) { return factor * value; });
        return moments_.back();
    }

    ModelOptions options_ = small_model();
    std::unique_ptr<Device> device_ = make_reference_device();
    Parameters parameters_;
    std::vector<Matrix> moments_;
    std::vector<StoredBlock> blocks_;
};

class CheckpointTest : public testing::Test {
protected:
    // Rank 0's folder: it alone writes and reads.
    CheckpointTest() : path(world.broadcast((folder / "checkpoints/step-000007.h5").string(), 0)) {}

    [[nodiscard]] Model model(const Communicator& ranks, std::uint64_t seed) const {
        return {linear_placement(2, 5, ranks.size()), Layout(ranks.size(), ranks.size()), ranks, seed};
    }
    void save(std::uint64_t seed) const {
        // Experts scattered over half the ranks, twice, when that is possible.
        const int ep = world.size() % 2 == 0 ? world.size() / 2 : world.size();
        const Model saved(shuffled_placement(2, 5, ep, 3), Layout(world.size(), ep), world, seed);
        save_checkpoint(path, {"layers = 2\n", 7, true}, saved.blocks(), world);
    }

    Communicator world{MPI_COMM_WORLD};
    TemporaryFolder folder;
    std::filesystem::path path;
};

TEST_F(CheckpointTest, LoadsTheSameModelAtFewerRanksAndInAnotherLayout) {
    save(1);
    for (int ranks = 1; ranks <= world.size(); ++ranks) {
        const Communicator some = world.split(world.rank() < ranks ? 0 : 1);
        if (world.rank() >= ranks) continue;
        const Model loaded = model(some, 99);
        const auto header = load_checkpoint(path, loaded.blocks(), some);
        EXPECT_EQ(header.config, "layers = 2\n");
        EXPECT_EQ(header.step, 7);
        EXPECT_TRUE(header.has_moments);
        loaded.expect_equal(model(some, 1));
    }
    world.barrier();
}

TEST_F(CheckpointTest, LeavesNoPartialFileBehind) {
    save(1);
    if (world.rank() == 0) {
        EXPECT_TRUE(std::filesystem::exists(path));
        EXPECT_FALSE(std::filesystem::exists(path.string() + ".partial"));
    }
    world.barrier();
}

TEST_F(CheckpointTest, SaysOnEveryRankThatItCannotBeWritten) {
    if (world.rank() == 0) write_text(path.parent_path().parent_path() / "file", "");
    const Model saved = model(world, 1);
    const auto inside_a_file = path.parent_path().parent_path() / "file/step.h5";
    const auto complaint = complaint_of<UserError>([&] {
        save_checkpoint(inside_a_file, {"", 7, true}, saved.blocks(), world);
    });
    EXPECT_NE(complaint.find("cannot be written"), std::string::npos) << complaint;
}

TEST_F(CheckpointTest, NamesTheTensorThatIsMissingOnEveryRankAndChangesNothing) {
    if (world.rank() == 0) {
        std::filesystem::create_directories(path.parent_path());
        Hdf5File file = Hdf5File::create(path);
        file.set_attribute("", "format", std::string(checkpoint_format));
        file.set_attribute("", "config", std::string());
        file.set_attribute("", "step", std::int64_t{7});
        file.write("value/embedding.weight", std::vector<float>(88), {11, 8});
    }
    const Model loaded = model(world, 5);
    const auto complaint = complaint_of<UserError>([&] { load_checkpoint(path, loaded.blocks(), world); });
    EXPECT_EQ(complaint, path.string() + ": value/layers.0.attention_norm.weight is missing");
    loaded.expect_equal(model(world, 5));
}

TEST_F(CheckpointTest, RefusesAnotherShapeAndAnotherKindOfFile) {
    save(1);
    const auto load = [&] {
        const Model loaded = model(world, 1);
        load_checkpoint(path, loaded.blocks(), world);
    };
    if (world.rank() == 0) {
        Hdf5File file = Hdf5File::create(path);
        file.set_attribute("", "format", std::string("expar-golden-1"));
    }
    EXPECT_NE(complaint_of<UserError>(load).find("not a checkpoint"), std::string::npos);
    if (world.rank() == 0) write_text(path, "text");
    EXPECT_EQ(complaint_of<UserError>(load), path.string() + ": not an HDF5 file");
}

}  // namespace
}  // namespace expar
