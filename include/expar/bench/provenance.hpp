#pragma once

#include <span>
#include <string>
#include <string_view>

#include "expar/bench/bench_row.hpp"
#include "expar/comm/topology.hpp"

namespace expar {

/// What the program knows of itself.
struct ProgramFacts {
    std::string version, commit;
    std::string command;  ///< as it was given
    std::string instruction_set;
};

/// Where and how something is measured: host, processor, binding, MPI and its settings, the program. On rank 0; empty
/// elsewhere. Collective.
[[nodiscard]] Cells provenance_of(const ProgramFacts& program, const Topology& topology, const Communicator& world);

/// A line that warns of times that say little, else empty: ranks that share cores.
[[nodiscard]] std::string crowding_note(int ranks, int cores);

/// Of a NAME=VALUE list, what sets up an MPI library: Open MPI's, MPICH's and UCX's variables, sorted, one line.
[[nodiscard]] std::string mpi_settings(std::span<const std::string> environment);

}  // namespace expar
