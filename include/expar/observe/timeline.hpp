#pragma once

#include <span>
#include <string>
#include <vector>

#include "expar/observe/clock_offset.hpp"
#include "expar/observe/phase_clock.hpp"

namespace expar {

/// Who a rank is in a timeline.
struct TimelineRank {
    int rank = 0;
    int node = 0;
};

/// How a rank's clock ran against rank 0's during an interval: its offset at both ends, a straight line between.
struct ClockAlignment {
    std::int64_t begin = 0, end = 0;  ///< nanoseconds of the rank's clock, when the offsets were measured
    ClockOffset at_begin, at_end;

    /// Nanoseconds of rank 0's clock.
    [[nodiscard]] double aligned(std::int64_t time) const;
};

/// The events of one rank as lines of Chrome's trace format, to be joined by timeline_file(): a complete event ("X")
/// each, pid the node, tid the rank, ts and dur in microseconds since `origin` (nanoseconds of rank 0's clock), the
/// phase as name, args layer and step; and the names of the node and the rank. What lies in no other phase of a step is
/// "step".
[[nodiscard]] std::string timeline_lines(const TimelineRank& who, std::span<const PhaseClock::Event> events,
                                         const ClockAlignment& clock, double origin);

/// A file that chrome://tracing and ui.perfetto.dev open, of the lines of all ranks.
[[nodiscard]] std::string timeline_file(const std::vector<std::string>& lines_of_ranks);

}  // namespace expar
