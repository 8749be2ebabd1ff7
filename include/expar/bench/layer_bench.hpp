#pragma once

#include <vector>

#include "expar/bench/dispatch_bench.hpp"

namespace expar {

struct LayerBenchOptions {
    DispatchBenchOptions dispatch{};  ///< what is compared, with which link, how long; `cached_plan` is not looked at
    std::vector<int> chunks{1};       ///< MoeRuntime::chunks, each of them with every dispatcher and order
    int layers = 1;                   ///< one after the other, each with parameters and a routing of its own
    int intermediate = 512;           ///< of an expert
};

/// Measures MoE layers as training runs them: forward through all of them, then backward, with the router, the
/// dispatcher's pool and the experts' gradients. The workload's choices are those of the router: they stand in the
/// first columns of the tokens as logits, so that there cannot be more experts than columns. Layer l has the routing of
/// step + l.
///
/// Seconds are those of one layer, in the mean over layers; phases are those of the rank that was slowest in all. What
/// computes (router and experts) is `compute`: its bound are the experts' products of the idlest rank at the rate of a
/// dense one that the caches hold. That of `total` are those of the busiest rank and the bounds of dispatch and
/// combine, added on one node, the larger of both among several; dispatch and combine alone have none, since ranks are
/// in different phases at once. `hidden_fraction` is of several nodes alone. A row is wrong unless it is what one rank
/// computes alone, forward and backward: bit by bit in the order `exact`, else within rounding. `cache` is cold when
/// what all layers touch exceeds the caches. The same rows on every rank. Collective.
[[nodiscard]] std::vector<BenchRow> bench_layer(const DispatchCell& cell, const Workload& workload,
                                                const LayerBenchOptions& options, const Communicator& world);

}  // namespace expar
