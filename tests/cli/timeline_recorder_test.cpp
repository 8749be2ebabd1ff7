#include "timeline_recorder.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::complaint_of;

TEST(TimelineSteps, AreTwoStepsInOrder) {
    EXPECT_EQ(step_range("3:3").first, 3);
    EXPECT_EQ(step_range("10:109").last, 109);
    for (const char* text :
         {"", "3", "3:", ":3", "3:2", "0:2", "-1:2", "1:2:3", "a:b", "1 :2", "1:2 ", "1:99999999999"})
        EXPECT_EQ(complaint_of<UserError>([&] { (void)step_range(text); }),
                  concat("--timeline-steps: expected first:last, two steps of 1 or more, got '", text, "'"));
    EXPECT_EQ(complaint_of<UserError>([] { (void)step_range("10:110"); }),
              "--timeline-steps: 10:110 are 101 steps, expected at most 100");
    EXPECT_EQ(complaint_of<UserError>([] { (void)step_range("1:2147483647"); }),
              "--timeline-steps: 1:2147483647 are 2147483647 steps, expected at most 100");
}

class TimelineRecorderTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    PhaseClock clock;
    testing_support::TemporaryFolder folder;

    void step(TimelineRecorder& recorder, int number) {
        recorder.begin_step(number);
        {
            const Span outer(&clock, Phase::other);
            const Span inner(&clock, Phase::experts, 2);
        }
        recorder.end_step(number);
    }
};

TEST_F(TimelineRecorderTest, ShowsTheStepsThatWereAskedForOnEveryRank) {
    const auto path = folder / "timeline.json";
    TimelineRecorder recorder({2, 3}, path, 2, clock, world);
    for (int number = 1; number <= 4; ++number) {
        step(recorder, number);
        EXPECT_EQ(recorder.written(), number >= 3);
    }
    recorder.finish();
    if (world.rank() != 0) return;
    std::ifstream file(path);
    const auto events = nlohmann::json::parse(file).at("traceEvents");
    std::vector<int> found(std::size_t(world.size()) * 4);  // by rank, step and phase
    for (const auto& event : events) {
        const int rank = event.at("tid");
        EXPECT_EQ(event.at("pid"), rank / 2);
        if (event.at("ph") != "X") continue;
        const int number = event.at("args").at("step");
        ASSERT_TRUE(number == 2 || number == 3);
        const bool experts = event.at("name") == "experts";
        EXPECT_EQ(event.at("args").contains("layer"), experts);
        EXPECT_GE(event.at("ts").get<double>(), 0);
        EXPECT_GE(event.at("dur").get<double>(), 0);
        ++found.at(std::size_t(rank * 4 + (number - 2) * 2 + (experts ? 1 : 0)));
    }
    EXPECT_EQ(found, std::vector(found.size(), 1));
}

TEST_F(TimelineRecorderTest, ShowsWhatThereIsWhenTheRunEndsBefore) {
    TimelineRecorder ended({1, 9}, folder / "ended.json", 0, clock, world);
    step(ended, 1);
    ended.finish();
    EXPECT_TRUE(ended.written());
    EXPECT_EQ(std::filesystem::exists(folder / "ended.json"), world.rank() == 0);
    TimelineRecorder never({5, 9}, folder / "never.json", 0, clock, world);
    step(never, 1);
    never.finish();
    EXPECT_FALSE(never.written());
    EXPECT_FALSE(std::filesystem::exists(folder / "never.json"));
}

}  // namespace
}  // namespace expar::cli
