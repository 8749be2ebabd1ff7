#include "expar/store/checkpoint.hpp"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>

#include "expar/store/digest.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/store/partial_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

// Two layers, one of them dense; 5 experts divide by no number of ranks here but 1.
ModelOptions small_model(int experts = 5) {
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

    std::unique_ptr<Device> device_ = make_reference_device();
    Parameters parameters_;
    std::vector<Matrix> moments_;
    std::vector<StoredBlock> blocks_;
};

// Every expert twice, where there are two members.
Placement placement_with_copies(int members) {
    std::vector slots(2, std::vector(std::size_t(members), std::vector<int>()));
    for (auto& layer : slots)
        for (int expert = 0; expert < 5; ++expert) {
            layer[(3 * expert) % members].push_back(expert);
            if (members > 1) layer[(3 * expert + 1) % members].push_back(expert);
        }
    return {5, slots};
}

std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
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
        const auto complaint = complaint_of<UserError>([&] { save(2); });
        EXPECT_EQ(complaint, world.broadcast(complaint, 0));
        EXPECT_FALSE(std::filesystem::exists(path.string() + ".partial"));
        return complaint;
    }
    [[nodiscard]] std::string complaint_of_load() const {
        const Model loaded = model(world, 5);
        const auto complaint = complaint_of<UserError>([&] { CheckpointReader(path, world).load(loaded.blocks()); });
        loaded.expect_equal(model(world, 5));  // nothing changed
        world.barrier();                       // before the caller does something else to the file
        EXPECT_EQ(complaint, world.broadcast(complaint, 0));
        return complaint;
    }

    Communicator world{MPI_COMM_WORLD};
    TemporaryFolder folder;
    std::filesystem::path root;
    std::filesystem::path path;
};

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
    EXPECT_TRUE(std::ranges::equal(block.value.row<float>(0), saved.blocks().front().value.row<float>(0)));
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

// The first, the middle and the last byte of every piece; where it is data, the piece is named.
TEST_F(CheckpointTest, RefusesAFlippedByteWhereverItIs) {
    save(1);
    if (world.rank() == 0) {
        const std::string whole = bytes_of(path);
        const auto complaint_at = [&](std::uint64_t at) {
            const std::string flipped(1, char(whole[at] ^ 0x10));
            RawFile file = RawFile::open_to_write(path);
            file.write_at(at, std::as_bytes(std::span(flipped)));
            const auto complaint = complaint_of<UserError>([&] { const CheckpointReader reader(path); });
            file.write_at(at, std::as_bytes(std::span(whole).subspan(at, 1)));
            return complaint;
        };
        for (const Piece& piece : verify_file(path).pieces) {
            const std::string expected =
                concat(path.string(), ": damaged: ", piece.name.empty() ? "HDF5's own structure" : piece.name,
                       " (bytes ", piece.offset, " to ", piece.offset + piece.bytes - 1, ")");
            for (const std::uint64_t at : {std::uint64_t{0}, piece.bytes / 2, piece.bytes - 1})
                EXPECT_EQ(complaint_at(piece.offset + at), expected);
        }
        for (const char* attribute : {"layers = 2\n", "fedcba9876543210", "text_hash"}) {
            const std::size_t at = whole.find(attribute);
            ASSERT_NE(at, std::string::npos) << attribute;
            EXPECT_NE(complaint_at(at).find("HDF5's own structure"), std::string::npos);
        }
        EXPECT_EQ(complaint_of<UserError>([&] { const CheckpointReader reader(path); }), "");
    }
    world.barrier();
}

TEST_F(CheckpointTest, NamesADamagedExpertOnEveryRank) {
    save(1);
    if (world.rank() == 0) {
        const auto pieces = verify_file(path).pieces;
        const auto piece = std::ranges::find(pieces, "moment2/layers.1.experts.up.weight[3]", &Piece::name);
        ASSERT_NE(piece, pieces.end());
        RawFile::open_to_write(path).write_at(piece->offset + 5, std::as_bytes(std::span("!", 1)));
    }
    world.barrier();
    const auto complaint = complaint_of_load();
    EXPECT_NE(complaint.find(path.string() + ": damaged: moment2/layers.1.experts.up.weight[3] (bytes "),
              std::string::npos)
        << complaint;
}

TEST_F(CheckpointTest, RefusesEveryFlippedByteOfItsDigest) {
    save(1);
    if (world.rank() == 0) {
        const std::string whole = bytes_of(digest_path(path));
        for (std::size_t at = 0; at < whole.size(); at += at < 200 ? 1 : 37) {
            std::string damaged = whole;
            damaged[at] = char(damaged[at] ^ 0x04);
            write_text(digest_path(path), damaged);
            const auto complaint = complaint_of<UserError>([&] { const CheckpointReader reader(path); });
            EXPECT_EQ(complaint.find(digest_path(path).string()), 0u) << at << ": " << complaint;
        }
    }
    world.barrier();
}

// "not an HDF5 file" would be HDF5's own word.
TEST_F(CheckpointTest, NeverShowsHdf5WhatItsDigestDoesNotVouchFor) {
    save(1);
    const auto bytes = std::filesystem::file_size(path);
    world.barrier();
    for (const auto other : {bytes - 1, bytes + 1, std::uintmax_t{0}}) {
        if (world.rank() == 0) std::filesystem::resize_file(path, other);
        world.barrier();
        EXPECT_EQ(complaint_of_load(), concat(path.string(), ": ", other, " bytes, its digest says ", bytes));
    }
    if (world.rank() == 0) std::filesystem::remove(digest_path(path));
    world.barrier();
    EXPECT_EQ(complaint_of_load(), path.string() +
                                       ": no digest beside it (step-000007.h5.digest): half-written, or "
                                       "not by expar");
    if (world.rank() == 0) replace_file(digest_path(path), to_text(make_digest(RawFile::open(path), {})));
    world.barrier();
    EXPECT_EQ(complaint_of_load(), path.string() + ": not an HDF5 file");
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

TEST_F(CheckpointTest, SaysOnEveryRankThatItsNameCannotBeTaken) {
    if (world.rank() == 0) {
        write_text(root / "file", "");
        std::filesystem::create_directories(path);
    }
    world.barrier();
    EXPECT_EQ(complaint_of_save(), path.string() + ": cannot be written: Is a directory");
    path = root / "file/step.h5";
    EXPECT_EQ(complaint_of_save(), path.string() + ": cannot be written: Not a directory");
}

// Lets this rank write no file beyond so many bytes.
class FileLimit {
public:
    explicit FileLimit(rlim_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{std::min(bytes, before_.rlim_max), before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
    FileLimit(const FileLimit&) = delete;
    FileLimit& operator=(const FileLimit&) = delete;

private:
    rlimit before_{};
};

TEST_F(CheckpointTest, KeepsTheEarlierOneWhenAnyRankCannotWrite) {
    save(1);
    for (const int unlucky : {0, world.size() - 1})
        for (const rlim_t bytes : {rlim_t{0}, rlim_t{4000}}) {
            {
                std::optional<FileLimit> limit;
                if (world.rank() == unlucky) limit.emplace(bytes);
                const auto complaint = complaint_of_save();
                EXPECT_NE(complaint.find("cannot be written: File too large"), std::string::npos) << complaint;
                world.barrier();
            }
            expect_loads(world, 1);
            world.barrier();
        }
}

TEST_F(CheckpointTest, KeepsTheEarlierOneWhenTheDiskIsFull) {
    std::string obstacle;
    if (world.rank() == 0) {
        std::filesystem::create_directories(path.parent_path());
        if (mount("expar-test", path.parent_path().c_str(), "tmpfs", 0, "size=2m") != 0)
            obstacle = std::strerror(errno);
    }
    obstacle = world.broadcast(obstacle, 0);
    if (!obstacle.empty()) GTEST_SKIP() << "a tmpfs cannot be mounted here: " << obstacle;
    save(1);
    if (world.rank() == 0) {
        std::ofstream filler(path.parent_path() / "filler", std::ios::binary);
        for (int page = 0; page < 512 && filler; ++page) filler << std::string(4096, 'x') << std::flush;
    }
    world.barrier();
    const auto complaint = complaint_of_save();
    EXPECT_NE(complaint.find("cannot be written: No space left on device"), std::string::npos) << complaint;
    expect_loads(world, 1);
    world.barrier();
    if (world.rank() == 0) {
        EXPECT_EQ(umount(path.parent_path().c_str()), 0);
    }
}

}  // namespace
}  // namespace expar
