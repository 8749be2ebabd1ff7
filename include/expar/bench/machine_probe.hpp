#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "expar/base/device.hpp"
#include "expar/bench/bench_row.hpp"
#include "expar/comm/topology.hpp"

namespace expar {

struct MachineProbeOptions {
    Topology topology{};
    Patience patience{.seconds = 1, .relative_width = 0.02};  ///< of each group of rows
    std::vector<int> top_k{1, 2, 4, 8};
    std::vector<std::size_t> row_bytes{2048, 8192};
    std::size_t bytes = std::size_t{8} << 20;  ///< about as many are stored by a rank in a pattern at once
    std::function<std::unique_ptr<Device>()> make_device{};
};

/// What all ranks at once get out of memory and MPI: plain reads, writes and copies; the patterns of dispatch and
/// combine in each other's memory, cold, with the stores that are faster; barriers; MPI_Alltoallv and messages of two
/// ranks. Hands each group of rows to `done`. The same on every rank. Collective.
void probe_machine(const MachineProbeOptions& options, const Communicator& world,
                   const std::function<void(std::vector<ProbeRow>)>& done);

}  // namespace expar
