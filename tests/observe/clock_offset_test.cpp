#include "expar/observe/clock_offset.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "expar/observe/phase_clock.hpp"

namespace expar {
namespace {

std::int64_t nanoseconds_ahead = 0;  // of this rank: the clock is a plain function
std::int64_t own_clock() {
    return PhaseClock::steady_nanoseconds() + nanoseconds_ahead;
}

// All ranks run on one machine: how far their clocks are apart is known, and the round trip bounds the error.
TEST(ClockOffset, IsKnownUpToHalfARoundTrip) {
    const Communicator world(MPI_COMM_WORLD);
    nanoseconds_ahead = std::int64_t{3'600'000'000'000} * world.rank() * (world.rank() % 2 == 0 ? 1 : -1);
    const ClockOffset offset = measure_clock_offset(world, own_clock);
    EXPECT_LE(std::abs(offset.nanoseconds + double(nanoseconds_ahead)), offset.round_trip / 2);
    EXPECT_EQ(offset.round_trip > 0, world.rank() > 0);
}

}  // namespace
}  // namespace expar
