#pragma once

#include <span>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_math.hpp"
#include "expar/verify/plain_router.hpp"

namespace expar {

/// One micro-batch of all ranks, in global token order.
struct PlainBatch {
    std::vector<int> tokens;        ///< [T]
    std::vector<int> targets;       ///< [T]; -1: no loss
    std::vector<int> offsets;       ///< [sequences + 1], the first token of each sequence
    std::vector<int> rank_offsets;  ///< [ranks + 1], the first token of each rank; empty: one rank has all
    /// Per MoE layer [T, k], by descending score, before capacity; -1: none. Empty: the reference chooses itself.
    std::vector<std::vector<int>> choices;
    /// Per MoE layer [T, E], added to the logits. Empty: none.
    std::vector<std::vector<double>> noise;
};

/// What one micro-batch led to.
struct PlainMicroBatch {
    std::vector<double> logits;          ///< [T, vocabulary]
    std::vector<PlainRouting> routings;  ///< per MoE layer
    std::vector<double> d_embedded;      ///< [T, hidden], the objective's gradient at the embedding's output rows
};

struct PlainResult {
    double loss = 0;          ///< mean cross entropy over the tokens with a target
    double balance_loss = 0;  ///< mean over MoE layers; 1 when balanced
    double z_loss = 0;        ///< mean over MoE layers and tokens
    double objective = 0;     ///< loss + MoE layers * (balance_coefficient * balance_loss + z_coefficient * z_loss)
    PlainWeights gradients;   ///< of the objective, before clipping
    double gradient_norm = 0;
    std::vector<PlainMicroBatch> micro_batches;
};

/// Forward and backward of a whole training step in float64, with a loop over tokens and experts: the specification.
///
/// Shares no code with the model, the layers or the kernels that it judges, and makes no MPI call. Throws Error when a
/// weight is missing or the arrays of a batch do not fit together.
[[nodiscard]] PlainResult plain_step(const ModelOptions& options, const PlainWeights& weights,
                                     std::span<const PlainBatch> micro_batches);

}  // namespace expar
