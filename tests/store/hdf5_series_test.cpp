#include "expar/store/hdf5_series.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <numeric>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using Type = SeriesLayout::Type;

const SeriesLayout layout{.format = "test-1",
                          .attributes = {{"width", 3}},
                          .constants = {{"names", {5, 7}}},
                          .columns = {{"step", Type::int32, {}},
                                      {"total", Type::int64, {}},
                                      {"loads", Type::int32, {2, 3}},
                                      {"mean", Type::float32, {2}}}};

void add(Hdf5Series& series, int step) {
    const std::int64_t total = std::int64_t{step} << 33;
    std::array<std::int32_t, 6> loads{};
    std::iota(loads.begin(), loads.end(), 10 * step);
    const std::array mean{float(step) / 4, -float(step)};
    const std::int32_t number = step;
    series.append({std::span<const std::int32_t>(&number, 1), std::span<const std::int64_t>(&total, 1),
                   std::span<const std::int32_t>(loads), std::span<const float>(mean)});
}

void write(const std::filesystem::path& path, int first, int last) {
    Hdf5Series series(path, layout);
    for (int step = first; step <= last; ++step) add(series, step);
    series.close();
}

// What a closed file holds: steps 1 to `count`, as add() gave them.
void expect_steps(const std::filesystem::path& path, int count) {
    const Hdf5File file = Hdf5File::open(path);
    ASSERT_EQ(file.shape("step"), Hdf5File::Shape{count});
    ASSERT_EQ(file.shape("loads"), (Hdf5File::Shape{count, 2, 3}));
    std::vector<std::int32_t> steps(static_cast<std::size_t>(count)), loads(static_cast<std::size_t>(count) * 6);
    std::vector<double> totals(steps.size());
    std::vector<float> means(steps.size() * 2);
    file.read("step", steps);
    file.read("loads", loads);
    file.read("total", totals);
    file.read("mean", means);
    for (int i = 0; i < count; ++i) {
        EXPECT_EQ(steps[i], i + 1);
        EXPECT_EQ(totals[i], double(std::int64_t{i + 1} << 33));
        for (int j = 0; j < 6; ++j) EXPECT_EQ(loads[i * 6 + j], 10 * (i + 1) + j);
        EXPECT_EQ(means[i * 2], float(i + 1) / 4);
        EXPECT_EQ(means[i * 2 + 1], -float(i + 1));
    }
}

TEST(Hdf5Series, HoldsEveryRowOfEveryColumn) {
    const TemporaryFolder folder;
    for (const int count : {0, 1, 63, 64, 65, 300}) {
        const auto path = folder / concat(count, ".h5");
        write(path, 1, count);
        expect_steps(path, count);
    }
    const Hdf5File file = Hdf5File::open(folder / "1.h5");
    EXPECT_EQ(file.text_attribute("", "format"), "test-1");
    EXPECT_EQ(file.integer_attribute("", "width"), 3);
    std::vector<std::int32_t> names(2);
    file.read("names", names);
    EXPECT_EQ(names, (std::vector{5, 7}));
    EXPECT_FALSE(std::filesystem::exists(folder / "1.h5.partial"));
}

TEST(Hdf5Series, GoesOnBehindTheRowsOfAFile) {
    const TemporaryFolder folder;
    write(folder / "a.h5", 1, 70);
    write(folder / "a.h5", 71, 90);
    expect_steps(folder / "a.h5", 90);
}

TEST(Hdf5Series, KeepsTheRowsUpToAStep) {
    const TemporaryFolder folder;
    const auto path = folder / "a.h5";
    for (const int last : {500, 200, 199, 64, 3, 0}) {
        std::filesystem::remove(path);
        write(path, 1, 200);
        EXPECT_EQ(keep_rows(path, layout, last), "");
        expect_steps(path, std::min(last, 200));
        write(path, std::min(last, 200) + 1, 205);
        expect_steps(path, 205);
    }
}

// A child writes, flushes 100 rows, adds more that it does not flush, and is killed.
TEST(Hdf5Series, OfAKilledProgramHoldsWhatWasFlushed) {
    const TemporaryFolder folder;
    const auto path = folder / "a.h5";
    std::array<int, 2> pipe{};
    ASSERT_EQ(::pipe(pipe.data()), 0);
    const pid_t child = fork();
    if (child == 0) {
        Hdf5Series series(path, layout);
        for (int step = 1; step <= 130; ++step) {
            add(series, step);
            if (step == 37 || step == 100) series.flush();
        }
        (void)!::write(pipe[1], "x", 1);
        for (;;) pause();
    }
    char ready = 0;
    ASSERT_EQ(::read(pipe[0], &ready, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    expect_steps(path, 100);
    EXPECT_EQ(keep_rows(path, layout, 90), "");
    expect_steps(path, 90);
    ::close(pipe[0]);
    ::close(pipe[1]);
}

TEST(Hdf5Series, CanBeReadWhileItIsWritten) {
    const TemporaryFolder folder;
    const auto path = folder / "a.h5";
    Hdf5Series series(path, layout);
    for (int step = 1; step <= 5; ++step) add(series, step);
    EXPECT_EQ(series.unflushed_rows(), 5);
    series.flush();
    EXPECT_EQ(series.unflushed_rows(), 0);
    // Another process: this one has the file open already.
    const pid_t child = fork();
    if (child == 0) {
        expect_steps(path, 5);
        _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
}

TEST(Hdf5Series, SaysWhatIsWrongWithADamagedFile) {
    const TemporaryFolder folder;
    const auto path = folder / "a.h5";
    testing_support::write_text(path, "no HDF5 at all");
    EXPECT_EQ(keep_rows(path, layout, 5), path.string() + ": not an HDF5 file");

    std::filesystem::remove(path);
    write(path, 1, 20);
    SeriesLayout other = layout;
    other.columns[2].row = {2, 4};
    EXPECT_EQ(keep_rows(path, other, 5), path.string() + ": loads is [20, 2, 3], expected rows of [2, 4]");
    other.columns[2].name = "missing";
    EXPECT_EQ(keep_rows(path, other, 5), path.string() + ": missing is missing");
    expect_steps(path, 20);

    std::filesystem::resize_file(path, 700);
    EXPECT_NE(keep_rows(path, layout, 5), "");
    EXPECT_FALSE(std::filesystem::exists(folder / "a.h5.partial"));
}

TEST(Hdf5Series, RefusesARowOfAnotherShape) {
    const TemporaryFolder folder;
    Hdf5Series series(folder / "a.h5", layout);
    const std::array<std::int32_t, 2> two{};
    const std::int64_t total = 0;
    EXPECT_THROW(series.append({std::span<const std::int32_t>(two)}), Error);
    EXPECT_THROW(series.append({std::span<const std::int32_t>(two), std::span<const std::int64_t>(&total, 1),
                                std::span<const std::int32_t>(two), std::span<const float>()}),
                 Error);
}

// A limit on the size of files stands for a disk that is full.
TEST(Hdf5Series, WithoutRoomStaysAsItWas) {
    const TemporaryFolder folder;
    const auto path = folder / "a.h5";
    testing_support::write_text(folder / "file", "");
    EXPECT_EQ(complaint_of<UserError>([&] { Hdf5Series(folder / "file/a.h5", layout); }),
              (folder / "file/a.h5").string() + ": cannot be written: Not a directory");
    rlimit before{};
    getrlimit(RLIMIT_FSIZE, &before);
    {
        Hdf5Series series(path, layout);
        for (int step = 1; step <= 10; ++step) add(series, step);
        series.flush();
        const rlimit small{std::filesystem::file_size(path), before.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
        add(series, 11);
        EXPECT_EQ(complaint_of<UserError>([&] { series.flush(); }),
                  path.string() + ": cannot be written: File too large");
    }
    EXPECT_EQ(complaint_of<UserError>([&] { (void)keep_rows(path, layout, 5); }),
              path.string() + ".partial: cannot be written: File too large");
    EXPECT_EQ(complaint_of<UserError>([&] { Hdf5Series(folder / "b.h5", layout); }),
              (folder / "b.h5.partial").string() + ": cannot be written: File too large");
    setrlimit(RLIMIT_FSIZE, &before);
    expect_steps(path, 10);
    for (const char* none : {"a.h5.partial", "b.h5", "b.h5.partial"})
        EXPECT_FALSE(std::filesystem::exists(folder / none)) << none;
}

TEST(Hdf5Series, KeepsTheRowsOfWhatALinkStandsFor) {
    const TemporaryFolder folder;
    write(folder / "a.h5", 1, 20);
    std::filesystem::create_symlink(folder / "a.h5", folder / "link.h5");
    EXPECT_EQ(keep_rows(folder / "link.h5", layout, 5), "");
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link.h5"));
    expect_steps(folder / "a.h5", 5);
}

}  // namespace
}  // namespace expar
