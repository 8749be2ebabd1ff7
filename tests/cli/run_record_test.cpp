#include "run_record.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

class RunRecordTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    testing_support::TemporaryFolder own;
    RunFolder folder{world.broadcast((own / "run").string(), 0)};
    PhaseClock clock;
    RunConfig config;

    void SetUp() override {
        config.model.layers = 2;
        config.model.experts = 4;
        if (world.rank() == 0) std::filesystem::create_directory(folder.root);
    }
    void record_steps(RunRecord& record, int first, int last) const {
        for (int step = first; step <= last; ++step) {
            StepReport report;
            report.step = step;
            report.tokens = 10;
            report.seconds = 0.5;
            report.routers.assign(2, RouterStatistics(4));
            record.begin_step(step);
            record.end_step(report);
        }
    }
    [[nodiscard]] std::vector<int> steps_in_metrics() const {
        std::ifstream file(folder.metrics());
        std::vector<int> steps;
        for (std::string line; std::getline(file, line);) steps.push_back(step_of_metrics(line).value_or(-1));
        return steps;
    }
};

TEST_F(RunRecordTest, GoesOnBehindACheckpoint) {
    {
        RunRecord first(config, folder, {}, clock, world);
        record_steps(first, 1, 5);
        first.flush();
        EXPECT_EQ(first.tokens(), 50);
    }
    RunRecord second(config, folder, {.step = 3, .tokens = 30, .seconds = 1.5}, clock, world);
    record_steps(second, 4, 6);
    second.finish();
    second.flush();  // as before the checkpoint at the end
    EXPECT_EQ(second.tokens(), 60);
    EXPECT_EQ(second.seconds(), 3);
    if (world.rank() != 0) return;
    EXPECT_EQ(steps_in_metrics(), (std::vector{1, 2, 3, 4, 5, 6}));
    const Hdf5File routing = Hdf5File::open(folder.routing());
    std::vector<std::int32_t> steps(6);
    routing.read("step", steps);
    EXPECT_EQ(steps, (std::vector{1, 2, 3, 4, 5, 6}));
}

TEST_F(RunRecordTest, NamesItsFiles) {
    config.run.prometheus = (folder.root / "expar.prom").string();
    config.run.timeline_steps = "2:2";
    RunRecord record(config, folder, {}, clock, world);
    record_steps(record, 1, 3);
    record.finish();
    if (world.rank() != 0) return;
    const auto files = record.files();
    EXPECT_EQ(files.size(), 4U);
    for (const auto& file : files) EXPECT_TRUE(std::filesystem::exists(file)) << file;
}

TEST_F(RunRecordTest, OfAModelWithoutExpertsHasNoRouting) {
    config.model.moe_every = 3;
    RunRecord record(config, folder, {}, clock, world);
    record.finish();
    EXPECT_FALSE(std::filesystem::exists(folder.routing()));
}

TEST_F(RunRecordTest, OnAFullDiskEndsOnEveryRankWithTheSameLine) {
    if (world.rank() == 0) std::filesystem::create_symlink("/dev/full", folder.metrics());
    RunRecord record(config, folder, {}, clock, world);
    EXPECT_EQ(testing_support::complaint_of<UserError>([&] { record_steps(record, 1, 1); }),
              folder.metrics().string() + ": writing failed");
}

TEST_F(RunRecordTest, WhereItCannotBeWrittenIsRefusedOnEveryRank) {
    config.run.prometheus = "/proc/expar.prom";
    EXPECT_EQ(testing_support::complaint_of<UserError>([&] { RunRecord(config, folder, {}, clock, world); }),
              "/proc/expar.prom.partial: cannot be written: No such file or directory");
}

}  // namespace
}  // namespace expar::cli
