#pragma once

#include <string>

#include "expar/comm/communicator.hpp"
#include "expar/comm/rank_status.hpp"

namespace expar::cli {

/// From now on a wish to stop does not end this process but waits to be asked for: SIGUSR1, which mpirun and Slurm
/// pass on, and SIGTERM where the ranks were started by srun. Under mpirun SIGTERM keeps its effect, since mpirun ends
/// the ranks a second later whatever they do. Call before MPI is initialised, whose start takes long enough to be
/// interrupted.
void catch_stop_signals();

/// While it lives, SIGTERM leaves word in the rank's status before it ends this process, where catch_stop_signals()
/// did not take it. One at a time; `status` must outlive it.
class TerminationNote {
public:
    explicit TerminationNote(RankStatus& status);
    ~TerminationNote();
    TerminationNote(const TerminationNote&) = delete;
    TerminationNote& operator=(const TerminationNote&) = delete;
};

/// Whether srun itself started the ranks, by what the environment said when catch_stop_signals() was called.
[[nodiscard]] bool started_by_srun();

/// The signal that asked any rank to stop, "SIGUSR1"; empty: none did. The same on every rank. Collective.
[[nodiscard]] std::string agreed_stop(const Communicator& world);

}  // namespace expar::cli
