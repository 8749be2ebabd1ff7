#include "expar/observe/phase_clock.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace expar {
namespace {

std::int64_t nanoseconds_now = 0;  // a PhaseClock takes a plain function
std::int64_t given_time() {
    return nanoseconds_now;
}
void wait_seconds(int seconds) {
    nanoseconds_now += std::int64_t{1'000'000'000} * seconds;
}
double of(const PhaseSeconds& seconds, Phase phase) {
    return seconds[std::size_t(phase)];
}

class PhaseClockTest : public testing::Test {
protected:
    PhaseClock clock{given_time};
    void SetUp() override { nanoseconds_now = 7; }
};

TEST_F(PhaseClockTest, AMomentBelongsToTheInnermostPhase) {
    {
        const Span step(&clock, Phase::other);
        wait_seconds(1);
        {
            const Span outer(&clock, Phase::dispatch, 3);
            wait_seconds(2);
            {
                const Span inner(&clock, Phase::shared, 3);
                wait_seconds(4);
            }
            wait_seconds(8);
        }
        wait_seconds(16);
    }
    wait_seconds(32);  // between steps: nobody's
    const PhaseSeconds seconds = clock.take();
    EXPECT_EQ(of(seconds, Phase::other), 17);
    EXPECT_EQ(of(seconds, Phase::dispatch), 10);
    EXPECT_EQ(of(seconds, Phase::shared), 4);
    double sum = 0;
    for (const double phase : seconds) sum += phase;
    EXPECT_EQ(sum, 31);
}

TEST_F(PhaseClockTest, TakingInsideAPhaseSplitsItsTime) {
    const Span span(&clock, Phase::reduce);
    wait_seconds(5);
    EXPECT_EQ(of(clock.take(), Phase::reduce), 5);
    wait_seconds(3);
    EXPECT_EQ(of(clock.take(), Phase::reduce), 3);
    EXPECT_EQ(of(clock.take(), Phase::reduce), 0);
}

TEST_F(PhaseClockTest, APhaseMayFollowAnother) {
    {
        Span span(&clock, Phase::router, 2);
        wait_seconds(1);
        span.next(Phase::plan);
        wait_seconds(2);
        span.next(Phase::experts);
        wait_seconds(3);
        span.end();
        wait_seconds(4);
    }
    const PhaseSeconds seconds = clock.take();
    EXPECT_EQ(of(seconds, Phase::router), 1);
    EXPECT_EQ(of(seconds, Phase::plan), 2);
    EXPECT_EQ(of(seconds, Phase::experts), 3);
}

TEST_F(PhaseClockTest, AListenerHearsWhereTheRankIs) {
    std::string heard;
    clock.listen(
        [&](std::string_view phase, int layer) { heard += std::string(phase) + ":" + std::to_string(layer) + " "; });
    {
        const Span outer(&clock, Phase::dispatch, 3);
        const Span inner(&clock, Phase::shared, 3);
    }
    EXPECT_EQ(heard, "dispatch:3 shared:3 dispatch:3 :-1 ");
}

TEST_F(PhaseClockTest, EventsCoverWhatIsInsideThem) {
    { const Span before(&clock, Phase::data); }
    clock.keep_events_of(12);
    {
        const Span outer(&clock, Phase::dispatch, 3);
        wait_seconds(1);
        const Span inner(&clock, Phase::shared, 3);
        wait_seconds(2);
    }
    const auto events = clock.take_events();
    ASSERT_EQ(events.size(), 2U);
    EXPECT_EQ(events[0].phase, Phase::shared);
    EXPECT_EQ(events[0].end - events[0].begin, 2'000'000'000);
    EXPECT_EQ(events[1].phase, Phase::dispatch);
    EXPECT_EQ(events[1].layer, 3);
    EXPECT_EQ(events[1].step, 12);
    EXPECT_EQ(events[1].begin, 7);
    EXPECT_EQ(events[1].end - events[1].begin, 3'000'000'000);
    { const Span behind(&clock, Phase::data); }
    EXPECT_TRUE(clock.take_events().empty());
}

TEST_F(PhaseClockTest, WithoutAClockOrTurnedOffNothingIsMeasured) {
    clock.turn(false);
    {
        Span none(nullptr, Phase::data);
        none.next(Phase::embed);
        const Span off(&clock, Phase::data);
        wait_seconds(1);
    }
    for (const double seconds : clock.take()) EXPECT_EQ(seconds, 0);
}

TEST(Phase, HasANameOfItsOwn) {
    std::set<std::string_view> names;
    for (int i = 0; i < phase_count; ++i) names.insert(name_of(Phase(i)));
    EXPECT_EQ(int(names.size()), phase_count);
    EXPECT_EQ(name_of(Phase::attention_backward), "attention_backward");
    EXPECT_EQ(name_of(Phase::other), "other");
}

}  // namespace
}  // namespace expar
