#pragma once

#include <vector>

#include "expar/verify/snapshot.hpp"

namespace expar {

/// What one side computed in one step, over all its ranks and in global token order.
struct StepRecord {
    /// One micro-batch.
    struct Pass {
        std::vector<float> logits;              ///< [T, V]
        std::vector<float> d_embedded;          ///< [T, H]
        std::vector<int> tokens_of_rank;        ///< [ranks]
        std::vector<std::vector<int>> choices;  ///< per layer with experts [T, k]
        std::vector<std::vector<int>> kept;     ///< per layer with experts [T, k]
    };
    std::vector<Pass> passes;
    Tensors gradients;  ///< summed, not clipped; on rank 0 alone
    Tensors values;     ///< after the step; on rank 0 alone
    StepReport report;
};

/// Runs one step of `trainer` on the whole micro-batches' shares, and records it. Collective over `world`.
[[nodiscard]] StepRecord record_step(const ModelOptions& model, Trainer& trainer,
                                     const std::vector<MicroBatch>& micro_batches, const Communicator& world);

}  // namespace expar
