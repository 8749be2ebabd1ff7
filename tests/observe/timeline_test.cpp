#include "expar/observe/timeline.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

// Offset 1000 ns at time 0 and 2000 ns at time 10000: rank 0's clock runs faster.
const ClockAlignment drifting{0, 10'000, {1000, 0}, {2000, 0}};

TEST(ClockAlignment, FollowsAClockThatDrifts) {
    EXPECT_EQ(drifting.aligned(0), 1000);
    EXPECT_EQ(drifting.aligned(10'000), 12'000);
    EXPECT_EQ(drifting.aligned(5'000), 6'500);
    const ClockAlignment instant{7, 7, {10, 0}, {10, 0}};
    EXPECT_EQ(instant.aligned(9), 19);
}

TEST(Timeline, HasACompleteEventForEveryStayInAPhase) {
    const std::vector<PhaseClock::Event> events = {{Phase::dispatch, 2, 7, 0, 5'000}, {Phase::other, -1, 7, 0, 10'000}};
    EXPECT_EQ(timeline_lines({.rank = 3, .node = 1}, events, drifting, 500),
              R"({"name": "process_name", "ph": "M", "pid": 1, "tid": 3, "args": {"name": "node 1"}},
{"name": "thread_name", "ph": "M", "pid": 1, "tid": 3, "args": {"name": "rank 3"}},
{"name": "dispatch", "ph": "X", "pid": 1, "tid": 3, "ts": 0.500, "dur": 5.500, "args": {"layer": 2, "step": 7}},
{"name": "step", "ph": "X", "pid": 1, "tid": 3, "ts": 0.500, "dur": 11.000, "args": {"step": 7}},
)");
}

TEST(Timeline, IsOneListOfAllRanks) {
    EXPECT_EQ(timeline_file({"{1},\n", "{2},\n{3},\n"}),
              "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n{1},\n{2},\n{3}\n]}\n");
    EXPECT_EQ(timeline_file({}), "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n]}\n");
}

}  // namespace
}  // namespace expar
