#include "expar/store/digest.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

std::string complaint_about(const std::string& text) {
    return complaint_of<UserError>([&] { (void)parse_digest(text, "x.digest"); });
}

// Lines with the last line that they need.
std::string sealed(const std::string& lines) {
    return lines + hash_text(hash_bytes(bytes_of(lines))) + "\n";
}

TEST(Hash, IsXxh3) {
    // Published with the algorithm: XXH3_64bits of no bytes with seed 0.
    EXPECT_EQ(hash_text(hash_bytes({})), "2d06800538d394c2");
}

TEST(Hash, DependsOnTheBytesAndNotOnTheirPieces) {
    const std::string text(3000, 'x');
    Hash hash;
    for (std::size_t first = 0; first < text.size(); first += 7)
        hash.add(bytes_of(std::string_view(text).substr(first, 7)));
    EXPECT_EQ(hash.value(), hash_bytes(bytes_of(text)));
    EXPECT_NE(hash.value(), hash_bytes(bytes_of(text.substr(1))));
}

TEST(Hash, HasOneTextAndNoOther) {
    for (const std::uint64_t hash : {std::uint64_t{0}, std::uint64_t{0xfedcba9876543210}, ~std::uint64_t{0}}) {
        EXPECT_EQ(hash_text(hash).size(), 16u);
        EXPECT_EQ(parse_hash(hash_text(hash)), hash);
    }
    EXPECT_EQ(hash_text(0xfedcba9876543210), "fedcba9876543210");
    for (const char* wrong : {"", "fedcba987654321", "fedcba98765432100", "FEDCBA9876543210", "fedcba987654321g"})
        EXPECT_EQ(parse_hash(wrong), std::nullopt) << wrong;
}

TEST(Digest, IsReadAsItWasWritten) {
    const Digest digest{300, {{0, 96, 1, ""}, {96, 200, 2, "value/layers.0.experts.up.weight[3]"}, {296, 4, 3, ""}}};
    const Digest read = parse_digest(to_text(digest), "x.digest");
    EXPECT_EQ(read.file_bytes, 300u);
    ASSERT_EQ(read.pieces.size(), 3u);
    EXPECT_EQ(read.pieces[1].name, "value/layers.0.experts.up.weight[3]");
    EXPECT_EQ(read.pieces[1].offset, 96u);
    EXPECT_EQ(read.pieces[2].hash, 3u);
    EXPECT_EQ(to_text(read), to_text(digest));
    EXPECT_EQ(to_text(digest).substr(0, 36), "expar-digest-1 300 3\n000000000000000");
}

TEST(Digest, RefusesEveryFlippedByteAndEveryTruncation) {
    const std::string whole = to_text({12, {{0, 4, 1, ""}, {4, 8, 2, "value/a"}}});
    ASSERT_EQ(complaint_about(whole), "");
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (const int flip : {0x01, 0x20, 0x80, 0xff}) {
            std::string damaged = whole;
            damaged[at] = char(damaged[at] ^ flip);
            EXPECT_NE(complaint_about(damaged), "") << "byte " << at << " xor " << flip;
        }
        EXPECT_NE(complaint_about(whole.substr(0, at)), "") << "cut at " << at;
    }
    EXPECT_NE(complaint_about(whole + "x"), "");
    EXPECT_NE(complaint_about(whole + whole), "");
}

// With a last line that fits, so that it is the lines themselves that are judged.
TEST(Digest, NamesTheLineThatIsWrong) {
    const std::string hash = hash_text(7);
    const auto complaint = [&](const std::string& lines) { return complaint_about(sealed(lines)); };
    EXPECT_EQ(complaint("expar-digest-1 4 1\n" + hash + " 0 4 -\n"), "");
    EXPECT_EQ(complaint("expar-digest-2 4 1\n" + hash + " 0 4 -\n"),
              "x.digest: not a digest, its first word is not 'expar-digest-1'");
    for (const char* first : {"expar-digest-1 4", "expar-digest-1 04 1", "expar-digest-1 -4 1", "expar-digest-1 4 1 ",
                              "expar-digest-1  4 1", "expar-digest-1 99999999999999999999 1", "expar-digest-1x 4 1"})
        EXPECT_NE(complaint(std::string(first) + "\n" + hash + " 0 4 -\n").find("line 1: "), std::string::npos)
            << first;
    for (const char* second : {" 0 4", " 0 4 ", " 0 4 a b", " 0 0 -", " 00 4 -", " 0 4x -", " 0 4 \x7f", "0 0 4 -"})
        EXPECT_EQ(complaint("expar-digest-1 4 1\n" + hash + second + "\n"),
                  "x.digest: line 2: is not '<hash> <offset> <bytes> <name>'")
            << second;
    EXPECT_EQ(complaint("expar-digest-1 8 2\n" + hash + " 0 4 -\n" + hash + " 5 3 -\n"),
              "x.digest: line 3: 3 bytes from 5, the piece before ends at 4 and the file at 8");
    EXPECT_EQ(complaint("expar-digest-1 8 2\n" + hash + " 0 4 -\n" + hash + " 4 18446744073709551615 -\n"),
              "x.digest: line 3: 18446744073709551615 bytes from 4, the piece before ends at 4 and the file at 8");
    EXPECT_EQ(complaint("expar-digest-1 8 1\n" + hash + " 0 4 -\n"), "x.digest: its pieces end at 4, the file at 8");
    EXPECT_EQ(complaint("expar-digest-1 4 1000000000000\n" + hash + " 0 4 -\n"),
              "x.digest: has 1 pieces, line 1 says 1000000000000");
    EXPECT_EQ(complaint("expar-digest-1 4 1"), "x.digest: line 1: has no end");
    EXPECT_NE(complaint(""), "");
}

class VerifyFileTest : public testing::Test {
protected:
    VerifyFileTest() : path(world.broadcast((folder / "file.h5").string(), 0)) { make(); }

    void make() const {
        if (world.rank() == 0) {
            write_text(path, std::string(100, 'a') + std::string(2'000'000, 'b') + std::string(50, 'c'));
            const RawFile file = RawFile::open(path);
            const std::string b(2'000'000, 'b');
            Digest digest = make_digest(file, {{100, 2'000'000, hash_bytes(bytes_of(b)), "value/b"}});
            replace_file(digest_path(path), to_text(digest));
        }
        world.barrier();
    }
    void flip(std::uint64_t at) const {
        if (world.rank() == 0) RawFile::open_to_write(path).write_at(at, bytes_of("!"));
        world.barrier();
    }
    [[nodiscard]] std::string complaint() const {
        const auto alone = complaint_of<UserError>([&] { verify_file(path); });
        EXPECT_EQ(complaint_of<UserError>([&] { verify_file(path, world); }), alone);
        world.barrier();
        return alone;
    }

    Communicator world{MPI_COMM_WORLD};
    TemporaryFolder folder;
    std::filesystem::path path;
};

TEST_F(VerifyFileTest, CoversTheFileAndFindsItWhole) {
    const Digest digest = verify_file(path, world);
    ASSERT_EQ(digest.pieces.size(), 3u);
    EXPECT_EQ(digest.pieces[0].name, "");
    EXPECT_EQ(digest.pieces[1].name, "value/b");
    EXPECT_EQ(digest.pieces[2].offset, 2'000'100u);
    EXPECT_EQ(complaint(), "");
}

TEST_F(VerifyFileTest, NamesWhatIsDamagedAndWhere) {
    const std::pair<std::uint64_t, std::string> damages[] = {
        {0, "HDF5's own structure (bytes 0 to 99)"},
        {99, "HDF5's own structure (bytes 0 to 99)"},
        {100, "value/b (bytes 100 to 2000099)"},
        {1'500'000, "value/b (bytes 100 to 2000099)"},
        {2'000'149, "HDF5's own structure (bytes 2000100 to 2000149)"}};
    for (const auto& [at, what] : damages) {
        make();
        flip(at);
        EXPECT_EQ(complaint(), path.string() + ": damaged: " + what);
    }
    flip(0);  // and the last one still: the first is named
    EXPECT_EQ(complaint(), path.string() + ": damaged: " + damages[0].second);
}

TEST_F(VerifyFileTest, NamesAnotherLengthAMissingDigestAndAMissingFile) {
    for (const int bytes : {2'000'149, 2'000'151, 0}) {
        if (world.rank() == 0) std::filesystem::resize_file(path, std::uintmax_t(bytes));
        world.barrier();
        EXPECT_EQ(complaint(), concat(path.string(), ": ", bytes, " bytes, its digest says 2000150"));
    }
    if (world.rank() == 0) std::filesystem::remove(digest_path(path));
    world.barrier();
    EXPECT_EQ(complaint(), path.string() + ": no digest beside it (file.h5.digest): half-written, or not by expar");
    if (world.rank() == 0) std::filesystem::remove(path);
    world.barrier();
    EXPECT_EQ(complaint(), path.string() + ": no such file");
}

}  // namespace
}  // namespace expar
