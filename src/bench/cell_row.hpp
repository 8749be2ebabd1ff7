#pragma once

#include <cstdint>
#include <string>

#include "expar/bench/dispatch_bench.hpp"

namespace expar {

/// What all rows of a cell have in common.
struct CellFacts {
    const DispatchCell& cell;
    const std::string& workload;
    std::uint64_t seed;
    RoutedLayer routed;
    const Topology& topology;
};
[[nodiscard]] BenchRow row_of_cell(const CellFacts& facts);

/// Buffers in turn: one for warm ones, else so many that a node goes through more than its caches hold before it comes
/// back to the first. `bytes`: of a turn, on this rank. The same on every rank. Collective.
[[nodiscard]] int slots_of(bool warm, double bytes, const Topology& topology, const Communicator& world);

}  // namespace expar
