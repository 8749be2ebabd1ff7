#pragma once

#include <cstdint>
#include <memory>

#include "expar/bench/workload.hpp"
#include "expar/store/trace.hpp"

namespace expar {

/// How a trace is replayed.
struct TraceReplay {
    int layer = 0;  ///< as the model numbers it
    int ranks = 1;
    int tokens = 0;          ///< of a rank and step, in the mean; 0: every step has the whole trace
    std::uint64_t seed = 0;  ///< of the weights, which a trace does not hold
};

/// The recorded choices of one layer as a workload. Token i of the T of a step belongs to rank floor(i R / T); step s
/// has the s-th run of so many tokens, and begins anew behind the last token. Copies what it needs of the trace. Throws
/// UserError when the trace has no such layer.
[[nodiscard]] std::unique_ptr<Workload> make_trace_workload(const RoutingTrace& trace, const TraceReplay& replay);

}  // namespace expar
