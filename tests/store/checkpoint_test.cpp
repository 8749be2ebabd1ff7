#include "expar/store/checkpoint.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "expar/store/digest.hpp"
#include "expar/store/partial_file.hpp"
#include "small_checkpoint.hpp"

namespace expar {
namespace {

TEST(StoredPlace, StacksExpertsAndNothingElse) {
    const auto blocks = describe_blocks(small_model());
    const auto& expert = blocks[blocks.size() - 3];
    ASSERT_EQ(expert.role, Role::expert);
    EXPECT_EQ(stored_place(expert, expert.tensors.front()).dataset, "layers.1.experts.gate.weight");
    EXPECT_EQ(stored_place(expert, expert.tensors.back()).name(), "layers.1.experts.down.weight[4]");
    EXPECT_EQ(stored_place(blocks.front(), blocks.front().tensors.front()).name(), "embedding.weight");

    const auto datasets = stored_datasets(blocks);
    const auto down = std::ranges::find(datasets, "layers.1.experts.down.weight", &StoredDataset::name);
    ASSERT_NE(down, datasets.end());
    EXPECT_EQ(down->shape, (Hdf5File::Shape{5, 8, 6}));
    EXPECT_EQ(datasets.front().shape, (Hdf5File::Shape{11, 8}));
}

TEST(StoredBlocks, ShareOutWhatSeveralRanksHold) {
    const Placement placement = placement_with_copies(3);
    const Layout layout(6, 3);
    const auto device = make_reference_device();
    std::vector<std::size_t> written(6);
    std::size_t largest = 0, sum = 0;
    for (int rank = 0; rank < 6; ++rank) {
        const Parameters held(*device, DType::float32, small_model(), placement, layout.member_of(rank));
        for (const auto& block : stored_blocks(small_model(), held, placement, layout)) {
            if (block.writer != rank) continue;
            EXPECT_TRUE(block.is_here()) << block.spec.name();
            written[rank] += block.spec.count();
            largest = std::max(largest, block.spec.count());
            sum += block.spec.count();
        }
    }
    std::size_t all = 0;
    for (const auto& spec : describe_blocks(small_model())) all += spec.count();
    EXPECT_EQ(sum, all);  // everything once
    EXPECT_LE(std::ranges::max(written), sum / 6 + largest);
}

TEST_F(CheckpointTest, LoadsTheSameModelAtAnyOtherNumberOfRanks) {
    save(1);
    for (int ranks = 1; ranks <= world.size(); ++ranks) {
        const Communicator some = world.split(world.rank() < ranks ? 0 : 1);
        if (world.rank() < ranks) expect_loads(some, 1);
    }
    world.barrier();
    for (int ranks = 1; ranks < world.size(); ++ranks) {
        const Communicator some = world.split(world.rank() < ranks ? 0 : 1);
        if (world.rank() < ranks) save(some, linear_placement(2, 5, ranks), std::uint64_t(ranks));
        world.barrier();
        expect_loads(world, std::uint64_t(ranks));
        world.barrier();
    }
}

TEST_F(CheckpointTest, LoadsAModelWhoseExpertsHadCopies) {
    save(world, placement_with_copies(world.size()), 3);
    expect_loads(world, 3);
    world.barrier();
}

TEST_F(CheckpointTest, GivesBackItsHeader) {
    const Placement placement = placement_with_copies(world.size());
    save(world, placement, 1);
    const CheckpointHeader written = header_of(placement);
    const CheckpointHeader read = read_checkpoint_header(path);
    EXPECT_EQ(read.config, written.config);
    EXPECT_EQ(read.seed, written.seed);
    EXPECT_EQ(read.tokens, written.tokens);
    EXPECT_EQ(read.seconds, written.seconds);
    EXPECT_EQ(read.text_bytes, written.text_bytes);
    EXPECT_EQ(read.text_hash, written.text_hash);
    EXPECT_EQ(read.ranks, 6);
    EXPECT_EQ(read.ep, 3);
    EXPECT_EQ(read.version, "0.1.0");
    EXPECT_TRUE(read.has_moments);
    ASSERT_EQ(read.placement.layers(), 2);
    ASSERT_EQ(read.placement.members(), world.size());
    EXPECT_EQ(read.placement.experts(), 5);
    for (int layer = 0; layer < 2; ++layer)
        for (int member = 0; member < world.size(); ++member)
            EXPECT_TRUE(
                std::ranges::equal(read.placement.experts_on(layer, member), placement.experts_on(layer, member)));
    world.barrier();
}

TEST_F(CheckpointTest, CanDoWithoutMoments) {
    const Placement placement = linear_placement(2, 5, world.size());
    const Model saved = model(world, 1);
    CheckpointHeader header = header_of(placement);
    header.has_moments = false;
    save_checkpoint(path, header, saved.blocks(), world);
    const Model loaded = model(world, 2);
    const CheckpointReader reader(path, world);
    EXPECT_FALSE(reader.header().has_moments);
    reader.load(loaded.blocks());
    const auto& block = loaded.blocks().front();
    EXPECT_TRUE(std::ranges::equal(block.rows(Quantity::value).row<float>(0),
                                   saved.blocks().front().rows(Quantity::value).row<float>(0)));
    EXPECT_TRUE(
        std::ranges::equal(block.moment1.row<float>(0), model(world, 2).blocks().front().moment1.row<float>(0)));
    world.barrier();
}

TEST_F(CheckpointTest, NamesEveryTensorInItsDigest) {
    save(1);
    std::size_t named = 0, bytes = 0;
    for (const Piece& piece : verify_file(path, world).pieces) {
        named += !piece.name.empty();
        bytes += piece.name.empty() ? 0 : piece.bytes;
    }
    std::size_t tensors = 0, elements = 0;
    for (const auto& block : describe_blocks(small_model())) {
        tensors += block.tensors.size();
        elements += block.count();
    }
    EXPECT_EQ(named, 3 * tensors);
    EXPECT_EQ(bytes, 3 * elements * sizeof(float));
    world.barrier();
}

TEST_F(CheckpointTest, RefusesAnotherModelAndAnotherKindOfFile) {
    const Placement placement = linear_placement(2, 4, world.size());
    const Layout layout(world.size(), world.size());
    const Model other(small_model(4), placement, layout, world.rank(), 1);
    save_checkpoint(path, header_of(placement), other.blocks(), world);
    EXPECT_EQ(complaint_of_load(), path.string() + ": value/layers.1.router.weight is [4, 8], the model needs [5, 8]");

    ModelOptions unshared = small_model();
    unshared.shared_intermediate = 0;
    const Placement five = linear_placement(2, 5, world.size());
    const Model smaller(unshared, five, layout, world.rank(), 1);
    save_checkpoint(path, header_of(five), smaller.blocks(), world);
    EXPECT_EQ(complaint_of_load(), path.string() + ": value/layers.1.shared.gate.weight is missing");

    if (world.rank() == 0) {
        Hdf5File file = Hdf5File::create(path);
        file.set_attribute("", "format", std::string("expar-golden-1"));
        file.close();
        replace_file(digest_path(path), to_text(make_digest(RawFile::open(path), {})));
    }
    world.barrier();
    EXPECT_NE(complaint_of_load().find("not a checkpoint"), std::string::npos);
}

}  // namespace
}  // namespace expar
