#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/bench_row.hpp"
#include "expar/bench/statistics.hpp"
#include "expar/bench/workload.hpp"
#include "expar/comm/topology.hpp"
#include "expar/moe/dispatcher.hpp"

namespace expar {

/// One point of a sweep: all that is compared is measured there in turn.
struct DispatchCell {
    int tokens = 512;  ///< of a rank, in the mean
    int hidden = 1024, top_k = 2, experts = 8;
    std::string dtype = "bf16";  ///< a name of row_dtype
    bool warm = false;           ///< the same buffers again and again, else as many in turn as exceed the caches
};

/// What joins a node to the others.
struct NodeLink {
    std::string interface;        ///< whose counters are read; empty: none
    double bytes_per_second = 0;  ///< each way; no bound is set by it when 0
};

struct DispatchBenchOptions {
    std::vector<std::string> dispatchers;  ///< names of make_dispatcher
    std::string exchange = "native";       ///< of the dispatchers that stand on one
    std::vector<std::string> orders;       ///< names of combine_order
    Topology topology{};
    NodeLink link{};
    std::uint64_t seed = 1;
    std::uint64_t step = 0;    ///< of the workload
    bool cached_plan = false;  ///< also without the plan
    Patience patience{.seconds = 3, .relative_width = 0.05};
    std::function<std::unique_ptr<Device>()> make_device{};  ///< local; every contender has its own
    /// Takes the place of expar::make_dispatcher in tests.
    std::function<std::unique_ptr<Dispatcher>(std::string_view name, std::string_view exchange,
                                              const Communicator& group, Device& device)>
        make_dispatcher = expar::make_dispatcher;
};

/// Measures every dispatcher with every order, beside loops that do what memory cannot avoid, bare MPI_Alltoallv of the
/// same rows and a plain copy, one iteration of each in turn and in a random order. What was moved is checked before
/// and after, row by row. Experts copy their rows, which is timed nowhere.
///
/// Times are from a barrier: each rank's own, the largest of them. `dispatch` lasts from the routing to rows that are
/// ready, and includes `plan` and its `counts` unless the plan is cached; `total` is dispatch and combine.
/// The same rows on every rank. Collective.
[[nodiscard]] std::vector<BenchRow> bench_dispatch(const DispatchCell& cell, const Workload& workload,
                                                   const DispatchBenchOptions& options, const Communicator& world);

}  // namespace expar
