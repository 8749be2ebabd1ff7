#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// How a rank was started: on which CPUs, and who chose them.
struct Launch {
    enum class Bound {
        no,          ///< the launcher left the choice to the system
        by_default,  ///< by the launcher, unasked
        by_user,     ///< as the launcher was told
    };
    enum class Launcher { none, mpirun, srun };

    std::vector<int> cpus;  ///< that it may run on, those to be used first in front
    Bound bound = Bound::no;
    Launcher launcher = Launcher::none;
};

/// Whether a program of that name, "mpirun.openmpi", is Open MPI's launcher or the daemon that it has on other nodes.
[[nodiscard]] bool starts_ranks(std::string_view program);

/// Which CPU each thread of the ranks of one node is to keep to.
struct CpuPlan {
    enum class Outcome {
        free,     ///< there is room, and the system may choose
        pinned,   ///< every thread has a CPU of those that its rank was started on
        widened,  ///< every thread has a CPU of the node's, since the launcher's default left too few
        crowded,  ///< threads share CPUs
    };
    Outcome outcome = Outcome::free;
    std::vector<std::vector<int>> cpus_of;  ///< [ranks][threads] when pinned or widened, else empty
};

/// No CPU is given to two threads. Ranks that nobody bound are pinned only when they fill their CPUs: there may be
/// other programs beside them. `node` are the CPUs that the launcher itself could use, those to be used first in front.
[[nodiscard]] CpuPlan plan_cpus(std::span<const Launch> ranks, std::span<const int> node, int threads);

/// What this rank is to do with its threads.
struct ThreadPlaces {
    std::vector<int> cpus;  ///< [threads] to pin them to; empty: leave them to the system
    std::string note;       ///< what the user should know, in a line; mostly nothing
};

/// Reads what the launcher left in the environment and in the affinity of this process and those it comes from, agrees
/// with the other ranks of the node and widens the affinity where that helps. Collective over all ranks.
[[nodiscard]] ThreadPlaces place_threads(int threads, const Communicator& world);

/// The CPUs that this process may run on, ascending.
[[nodiscard]] std::vector<int> own_cpus();

/// "0-3,8" of ascending CPUs.
[[nodiscard]] std::string text_of_cpus(std::span<const int> cpus);

}  // namespace expar
