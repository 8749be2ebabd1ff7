#include "expar/store/partial_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>
#include <thread>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;
using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

std::string content(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

class PartialFileTest : public testing::Test {
protected:
    TemporaryFolder folder;
    fs::path path = folder / "new" / "result.json";
};

TEST_F(PartialFileTest, AppearsWhenItIsCommittedAndNotBefore) {
    PartialFile partial(path);
    EXPECT_EQ(partial.temporary(), path.string() + ".partial");
    write_text(partial.temporary(), "text");
    EXPECT_FALSE(fs::exists(path));
    partial.commit();
    EXPECT_EQ(content(path), "text");
    EXPECT_FALSE(fs::exists(partial.temporary()));
}

TEST_F(PartialFileTest, LeavesWhatWasThereWhenItIsNotCommitted) {
    replace_file(path, "old");
    {
        PartialFile partial(path);
        write_text(partial.temporary(), "new");
    }
    EXPECT_EQ(content(path), "old");
    EXPECT_FALSE(fs::exists(path.string() + ".partial"));
}

TEST_F(PartialFileTest, IsReplacedByNewContent) {
    EXPECT_NO_THROW(expect_writable(path));
    EXPECT_FALSE(fs::exists(path));
    replace_file(path, "a longer one");
    replace_file(path, std::string("t\0o", 3));
    EXPECT_NO_THROW(expect_writable(path));
    EXPECT_EQ(content(path), std::string("t\0o", 3));
    EXPECT_FALSE(fs::exists(path.string() + ".partial"));
}

TEST_F(PartialFileTest, SaysWhyItCannotBeWritten) {
    replace_file(path, "");
    const std::pair<fs::path, const char*> impossible[] = {{path / "below", "Not a directory"},
                                                           {path.parent_path(), "Is a directory"}};
    for (const auto& [name, cause] : impossible) {
        const std::string expected = concat(name.string(), ": cannot be written: ", cause);
        EXPECT_EQ(complaint_of<UserError>([&] { expect_writable(name); }), expected);
        EXPECT_EQ(complaint_of<UserError>([&] { replace_file(name, ""); }), expected);
    }
}

TEST_F(PartialFileTest, WritesThroughWhatIsNoFile) {
    EXPECT_NO_THROW(expect_writable("/dev/null"));
    EXPECT_NO_THROW(replace_file("/dev/null", "text"));
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    EXPECT_EQ(complaint_of<UserError>([] { replace_file("/dev/full", "text"); }),
              "/dev/full: cannot be written: No space left on device");

    const fs::path pipe = folder / "pipe";
    ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
    std::string received;
    std::thread reader([&] { received = content(pipe); });
    replace_file(pipe, "through the pipe");
    reader.join();
    EXPECT_EQ(received, "through the pipe");
    EXPECT_TRUE(fs::is_fifo(pipe));

    replace_file(path, "old");
    fs::create_symlink(path, folder / "link");
    replace_file(folder / "link", "new");
    EXPECT_EQ(content(path), "new");
    EXPECT_TRUE(fs::is_symlink(folder / "link"));
}

}  // namespace
}  // namespace expar
