#include "expar/store/isolated.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;

// What `work` comes to under short limits, and that it leaves no process behind.
std::string complaint(const std::function<std::string()>& work) {
    const auto line = complaint_of<UserError>([&] { (void)isolated("g.h5", {.seconds = 2}, work); });
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
    return line;
}

TEST(Isolated, GivesBackTheBytes) {
    EXPECT_EQ(isolated("g.h5", {}, [] { return std::string(); }), "");
    const std::string large = std::string(10 << 20, 'x') + '\0';  // more than a pipe holds
    EXPECT_EQ(isolated("g.h5", {}, [&] { return large; }), large);
}

TEST(Isolated, LeavesThisProcessAsItWas) {
    int changed = 0;
    (void)isolated("g.h5", {}, [&] {
        changed = 1;
        return std::string();
    });
    EXPECT_EQ(changed, 0);
}

TEST(Isolated, PassesOnWhatTheReaderSays) {
    EXPECT_EQ(complaint([]() -> std::string { throw UserError("g.h5: no table"); }), "g.h5: no table");
    const auto other = complaint([]() -> std::string { throw std::runtime_error("odd"); });
    EXPECT_EQ(other, "g.h5: a damaged HDF5 file: odd");
}

// With handlers that print and exit, as MPI and the sanitizers set them.
TEST(Isolated, NamesTheSignalThatEndedTheReader) {
    const auto before = ::signal(SIGSEGV, [](int) {
        (void)!::write(STDERR_FILENO, "handled\n", 8);
        ::_exit(7);
    });
    testing::internal::CaptureStderr();
    const auto line = complaint([]() -> std::string {
        ::raise(SIGSEGV);
        return "";
    });
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    ::signal(SIGSEGV, before);
    EXPECT_EQ(line, "g.h5: a damaged HDF5 file: its reader was ended by signal 11 (Segmentation fault)");
    EXPECT_EQ(complaint([]() -> std::string { ::_exit(9); }),
              "g.h5: a damaged HDF5 file: its reader ended with code 9");
}

TEST(Isolated, GoesOnWhenItsGroupIsAskedToStop) {
    EXPECT_EQ(isolated("g.h5", {},
                       [] {
                           for (const int number : {SIGUSR1, SIGTERM, SIGINT, SIGHUP}) ::raise(number);
                           return std::string("read");
                       }),
              "read");
}

TEST(Isolated, EndsAReaderThatTakesTooLong) {
    const std::string line = "g.h5: a damaged HDF5 file: its reader took more than 2 s";
    EXPECT_EQ(complaint([]() -> std::string {
                  while (true) (void)::getppid();
              }),
              line);
    EXPECT_EQ(complaint([]() -> std::string {
                  ::sleep(60);
                  return "";
              }),
              line);
}

TEST(Isolated, RefusesMemoryBeyondTheLimit) {
    EXPECT_EQ(complaint([] { return std::string(std::size_t{1} << 30, 'x'); }),
              "g.h5: a damaged HDF5 file: its reader asked for more than 256 MiB");
}

TEST(Isolated, AllowsMoreForALargeFile) {
    const testing_support::TemporaryFolder folder;
    testing_support::write_text(folder / "a", std::string(1000, 'x'));
    EXPECT_EQ(limits_for(folder / "a").memory_bytes, limits_for("none").memory_bytes + 16000);
}

}  // namespace
}  // namespace expar
