#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/dispatch_bench.hpp"
#include "expar/comm/exchange.hpp"

namespace expar {

struct ExchangeBenchOptions {
    /// Specifications of make_exchange. `window` without options: as much memory is lent as its rows take.
    std::vector<std::string> exchanges;
    Topology topology{};
    NodeLink link{};
    std::uint64_t seed = 1;
    std::uint64_t step = 0;  ///< of the workload
    Patience patience{.seconds = 2, .relative_width = 0.05};
    /// Takes the place of expar::make_exchange in tests.
    std::function<std::unique_ptr<Exchange>(std::string_view specification, const Communicator& comm)> make_exchange =
        expar::make_exchange;
};

/// Moves the rows of one forward dispatch, one for each distinct (token, rank), by every exchange, beside a bare
/// MPI_Alltoallv of the same rows and a loop that copies them once, one iteration of each in turn and in a random
/// order. Counts are known on both sides: the phase is `dispatch`, with its plan cached. Every row that arrives is
/// compared with what was sent, before and after the timing.
///
/// Predicted: by the costs that `auto` goes by (known_costs), in the user's file of them, of exchanges without options.
/// The bound: what that loop takes, or the busiest node's link. The last row is MPI_Alltoallv's own. The same rows on
/// every rank. Collective.
[[nodiscard]] std::vector<BenchRow> bench_exchange(const DispatchCell& cell, const Workload& workload,
                                                   const ExchangeBenchOptions& options, const Communicator& world);

}  // namespace expar
