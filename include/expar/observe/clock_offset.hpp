#pragma once

#include "expar/comm/communicator.hpp"

namespace expar {

/// How far the clocks of two ranks are apart.
struct ClockOffset {
    /// To be added to this rank's time to get rank 0's.
    double nanoseconds = 0;
    /// Nanoseconds of the fastest question and answer: the offset is wrong by half of it at most.
    double round_trip = 0;
};

/// Asks rank 0 for its time, several times in turn, and takes the answer that came fastest to be from halfway between
/// question and answer (Cristian, "Probabilistic clock synchronization", Distributed Computing 3, 1989). `now` gives
/// nanoseconds. Collective; one rank after the other.
[[nodiscard]] ClockOffset measure_clock_offset(const Communicator& world, std::int64_t (*now)());

}  // namespace expar
