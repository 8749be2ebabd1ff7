#include "expar/store/raw_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text));
}

class RawFileTest : public testing::Test {
protected:
    [[nodiscard]] std::string content() const {
        const RawFile file = RawFile::open(path);
        std::string text(file.bytes(), '\0');
        file.read_at(0, std::as_writable_bytes(std::span(text)));
        return text;
    }
    TemporaryFolder folder;
    std::filesystem::path path = folder / "file";
};

TEST_F(RawFileTest, WritesWhereItIsTold) {
    RawFile file = RawFile::create(path);
    file.append(bytes_of("one"));
    file.append(bytes_of("two"));
    file.write_at(2, bytes_of("E-T"));
    file.write_at(8, bytes_of("!"));
    file.sync();
    EXPECT_EQ(file.bytes(), 9u);
    file.close();
    EXPECT_EQ(content(), std::string("onE-To\0\0!", 9));
    RawFile::open_to_write(path).write_at(0, bytes_of("O"));
    EXPECT_EQ(content().front(), 'O');
    RawFile::create(path).close();
    EXPECT_EQ(content(), "");
}

TEST_F(RawFileTest, CopiesWhatIsThereAndLeavesHolesAsTheyAre) {
    auto memory = RawFile::in_memory();
    if (!memory) GTEST_SKIP() << "this system has no files in memory";
    constexpr std::uint64_t hole = 64 << 20;
    memory->write_at(0, bytes_of("begin"));
    memory->write_at(hole, bytes_of("end"));
    RawFile file = RawFile::create(path);
    file.write_at(hole + 100, bytes_of("longer before"));
    file.copy_from(*memory);
    EXPECT_EQ(file.bytes(), hole + 3);
    file.close();
    EXPECT_EQ(content().substr(0, 6), std::string("begin\0", 6));
    EXPECT_EQ(content().substr(hole), "end");
    struct stat status {};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_LT(std::uint64_t(status.st_blocks) * 512, hole / 2);
}

TEST_F(RawFileTest, ReservesRoomWithoutGrowing) {
    RawFile file = RawFile::create(path);
    file.append(bytes_of("four"));
    file.reserve(100000);
    EXPECT_EQ(file.bytes(), 4u);
    EXPECT_EQ(
        complaint_of<UserError>([&] { file.reserve(std::uint64_t{1} << 60); }).find(path.string() + ": cannot be"), 0u);
}

TEST_F(RawFileTest, SaysInOneLineWhatTheSystemSays) {
    EXPECT_EQ(complaint_of<UserError>([&] { (void)RawFile::open(path); }), path.string() + ": no such file");
    EXPECT_EQ(complaint_of<UserError>([&] { (void)RawFile::open_to_write(path); }),
              path.string() + ": cannot be written: No such file or directory");
    write_text(path, "four");
    std::byte bytes[3];
    EXPECT_EQ(complaint_of<UserError>([&] { RawFile::open(path).read_at(2, bytes); }),
              path.string() + ": ends before byte 5");
    EXPECT_EQ(complaint_of<UserError>([&] { RawFile::open_to_write("/dev/full").append(bytes_of("x")); }),
              "/dev/full: cannot be written: No space left on device");
    EXPECT_EQ(complaint_of<UserError>([&] { sync_folder(folder / "absent"); }),
              (folder / "absent").string() + ": cannot be written: No such file or directory");
    EXPECT_NO_THROW(sync_folder(path.parent_path()));
    EXPECT_NO_THROW(sync_folder(""));
}

// To open a pipe for reading waits for a writer, who may never come.
TEST_F(RawFileTest, RefusesWhatIsNoFileWithoutOpeningIt) {
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(complaint_of<UserError>([&] { (void)RawFile::open(path); }),
              path.string() + ": is no regular file, expected a file");
    EXPECT_EQ(complaint_of<UserError>([&] { (void)RawFile::open(path.parent_path()); }),
              path.parent_path().string() + ": is a folder, expected a file");
}

}  // namespace
}  // namespace expar
