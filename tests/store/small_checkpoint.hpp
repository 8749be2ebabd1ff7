#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "expar/store/checkpoint.hpp"
#include "support/temporary_folder.hpp"

namespace expar {

// Two layers, one of them dense; 5 experts divide by no number of ranks here but 1.
inline ModelOptions small_model(int experts = 5) {
    ModelOptions options;
    options.vocabulary = 11;
    options.layers = 2;
    options.hidden = 8;
    options.heads = 2;
    options.intermediate = 6;
    options.experts = experts;
    options.moe_every = 2;
    options.shared_intermediate = 4;
    options.shared = "gated";
    options.qk_norm = "head";
    return options.resolved();
}

// A rank's part of a model with moments, without a trainer.
class Model {
public:
    Model(const ModelOptions& options, const Placement& placement, Layout layout, int rank, std::uint64_t seed)
        : parameters_(*device_, DType::float32, options, placement, layout.member_of(rank)),
          blocks_(stored_blocks(options, parameters_, placement, layout)) {
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
            for (const Quantity quantity : all_quantities)
                EXPECT_TRUE(std::ranges::equal(blocks_[i].rows(quantity).row<float>(0),
                                               other.blocks_[i].rows(quantity).row<float>(0)))
                    << blocks_[i].spec.tensors.front().name << ", " << int(quantity);
        }
    }

private:
    Rows add_moment(const StoredBlock& block, float factor) {
        const ConstRows values = block.rows(Quantity::value);
        moments_.emplace_back(*device_, DType::float32, 1, values.cols());
        std::ranges::transform(values.row<float>(0), moments_.back().view().row<float>(0).begin(),
                               [factor](float value) { return factor * value; });
        return moments_.back();
    }

    std::unique_ptr<Device> device_ = make_reference_device();
    Parameters parameters_;
    std::vector<Matrix> moments_;
    std::vector<StoredBlock> blocks_;
};

// Every expert twice, where there are two members.
inline Placement placement_with_copies(int members) {
    std::vector slots(2, std::vector(std::size_t(members), std::vector<int>()));
    for (auto& layer : slots)
        for (int expert = 0; expert < 5; ++expert) {
            layer[(3 * expert) % members].push_back(expert);
            if (members > 1) layer[(3 * expert + 1) % members].push_back(expert);
        }
    return {5, slots};
}

class CheckpointTest : public testing::Test {
protected:
    // Rank 0's folder.
    CheckpointTest() : root(world.broadcast((folder / "").string(), 0)), path(root / "checkpoints/step-000007.h5") {}

    [[nodiscard]] Model model(const Communicator& ranks, std::uint64_t seed) const {
        return {small_model(), linear_placement(2, 5, ranks.size()), Layout(ranks.size(), ranks.size()), ranks.rank(),
                seed};
    }
    static CheckpointHeader header_of(const Placement& placement) {
        return {.config = "layers = 2\n",
                .step = 7,
                .seed = ~std::uint64_t{5},
                .tokens = std::int64_t{1} << 40,
                .seconds = 1.5,
                .text_bytes = 12345,
                .text_hash = 0xfedcba9876543210,
                .ranks = 6,
                .ep = 3,
                .version = "0.1.0",
                .placement = placement,
                .has_moments = true};
    }
    void save(const Communicator& ranks, const Placement& placement, std::uint64_t seed) const {
        const Layout layout(ranks.size(), placement.members());
        const Model saved(small_model(), placement, layout, ranks.rank(), seed);
        save_checkpoint(path, header_of(placement), saved.blocks(), ranks);
    }
    void save(std::uint64_t seed) const {
        // Experts scattered over half the ranks, twice, when that is possible.
        save(world, shuffled_placement(2, 5, world.size() % 2 == 0 ? world.size() / 2 : world.size(), 3), seed);
    }
    void expect_loads(const Communicator& ranks, std::uint64_t seed) const {
        const Model loaded = model(ranks, 99);
        const CheckpointReader reader(path, ranks);
        EXPECT_EQ(reader.header().step, 7);
        reader.load(loaded.blocks());
        loaded.expect_equal(model(ranks, seed));
    }
    // What all ranks say, and nothing that a new file would leave.
    [[nodiscard]] std::string complaint_of_save() const {
        const auto complaint = testing_support::complaint_of<UserError>([&] { save(2); });
        EXPECT_EQ(complaint, world.broadcast(complaint, 0));
        EXPECT_FALSE(std::filesystem::exists(path.string() + ".partial"));
        return complaint;
    }
    [[nodiscard]] std::string complaint_of_load() const {
        const Model loaded = model(world, 5);
        const auto complaint =
            testing_support::complaint_of<UserError>([&] { CheckpointReader(path, world).load(loaded.blocks()); });
        loaded.expect_equal(model(world, 5));  // nothing changed
        world.barrier();                       // before the caller does something else to the file
        EXPECT_EQ(complaint, world.broadcast(complaint, 0));
        return complaint;
    }

    Communicator world{MPI_COMM_WORLD};
    testing_support::TemporaryFolder folder;
    std::filesystem::path root;
    std::filesystem::path path;
};

}  // namespace expar
