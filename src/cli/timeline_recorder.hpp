#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "expar/observe/timeline.hpp"

namespace expar::cli {

/// "first:last", both of them recorded.
struct StepRange {
    int first = 0;
    int last = 0;
};
/// Throws UserError for anything but two steps of 1 or more, in order, not too far apart.
[[nodiscard]] StepRange step_range(const std::string& text);

/// Records what every rank does in some steps, as a Chrome timeline in which the clocks of all ranks agree. They are
/// compared before and after these steps. Every call is collective; rank 0 writes.
class TimelineRecorder {
public:
    /// `ranks_per_node` 0: as MPI says. `clock` and `world` must outlive it.
    TimelineRecorder(StepRange steps, std::filesystem::path path, int ranks_per_node, PhaseClock& clock,
                     const Communicator& world);

    void begin_step(int step);
    void end_step(int step);
    /// Writes what there is of steps that the run did not reach the end of. Nothing when it did not begin them.
    void finish();
    [[nodiscard]] bool written() const { return written_; }

private:
    void write();

    StepRange steps_;
    std::filesystem::path path_;
    int ranks_per_node_;
    PhaseClock& clock_;
    const Communicator& world_;
    std::optional<ClockAlignment> alignment_;  // while it records
    bool written_ = false;
};

}  // namespace expar::cli
