#include "expar/base/read_file.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::write_text;

class ReadFile : public testing::Test {
protected:
    [[nodiscard]] std::string complaint(const std::filesystem::path& path, std::size_t most_bytes) const {
        return complaint_of<UserError>([&] { (void)read_file(path, most_bytes); });
    }
    testing_support::TemporaryFolder folder;
};

TEST_F(ReadFile, GivesEveryByte) {
    for (const std::size_t size : {0, 1, 4096, 4097, 100'000}) {
        const std::string text(size, '\0');
        write_text(folder / "a", text);
        EXPECT_EQ(read_file(folder / "a", 100'000), text);
    }
}

TEST_F(ReadFile, ReadsAPipeToItsEnd) {
    const std::string text(300'000, 'x');
    ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
    std::thread writer([&] { write_text(folder / "pipe", text); });
    EXPECT_EQ(read_file(folder / "pipe", 1 << 20), text);
    writer.join();
}

TEST_F(ReadFile, NamesWhatItCannotRead) {
    const auto none = (folder / "none").string(), whole = (folder / "").string();
    EXPECT_EQ(complaint(none, 10), none + ": cannot be read: No such file or directory");
    EXPECT_EQ(complaint(whole, 10), whole + ": cannot be read: Is a directory");
}

TEST_F(ReadFile, ReadsNoMoreThanItMay) {
    write_text(folder / "a", "four");
    EXPECT_EQ(read_file(folder / "a", 4), "four");
    EXPECT_EQ(complaint(folder / "a", 3), (folder / "a").string() + ": has more than 3 bytes");
    EXPECT_EQ(complaint("/dev/zero", 100'000), "/dev/zero: has more than 100000 bytes");
}

}  // namespace
}  // namespace expar
