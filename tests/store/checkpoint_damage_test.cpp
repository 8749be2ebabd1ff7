#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include "expar/store/digest.hpp"
#include "expar/store/partial_file.hpp"
#include "small_checkpoint.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::write_text;

using CheckpointDamageTest = CheckpointTest;

std::string bytes_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The first, the middle and the last byte of every piece; where it is data, the piece is named.
TEST_F(CheckpointDamageTest, RefusesAFlippedByteWhereverItIs) {
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

TEST_F(CheckpointDamageTest, NamesADamagedExpertOnEveryRank) {
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

TEST_F(CheckpointDamageTest, RefusesEveryFlippedByteOfItsDigest) {
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
TEST_F(CheckpointDamageTest, NeverShowsHdf5WhatItsDigestDoesNotVouchFor) {
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

TEST_F(CheckpointDamageTest, SaysOnEveryRankThatItsNameCannotBeTaken) {
    if (world.rank() == 0) {
        write_text(root / "file", "");
        std::filesystem::create_directories(path);
    }
    world.barrier();
    EXPECT_EQ(complaint_of_save(), path.string() + ": cannot be written: Is a directory");
    path = root / "file/step.h5";
    EXPECT_EQ(complaint_of_save(), path.string() + ": cannot be written: Not a directory");
    path = root / "link.h5";
    if (world.rank() == 0) std::filesystem::create_symlink(root / "file", path);
    world.barrier();
    EXPECT_EQ(complaint_of_save(), path.string() + ": is no regular file, which a checkpoint has to be");
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

TEST_F(CheckpointDamageTest, KeepsTheEarlierOneWhenAnyRankCannotWrite) {
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

TEST_F(CheckpointDamageTest, KeepsTheEarlierOneWhenTheDiskIsFull) {
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
