#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "expar/model/attention_layer.hpp"
#include "expar/model/micro_batch.hpp"
#include "expar/model/parameters.hpp"
#include "expar/moe/moe_layer.hpp"

namespace expar {

/// What one layer's backward needs.
struct LayerState {
    Matrix x;  ///< [T, H], the layer's input
    AttentionState attention;
    Matrix after_attention;      ///< [T, H]
    Matrix normed, inverse_rms;  ///< of after_attention: what router and experts read
    std::optional<MoeState> moe;
    std::optional<ExpertsState> dense;
};

/// What the backward of a forward needs, and what the forward found. A value; the caller may drop or keep it.
struct TransformerState {
    std::vector<LayerState> layers;
    Matrix x, normed, inverse_rms;  ///< input of the final norm, and its result
    Matrix logits;                  ///< [T, V]
    Matrix log_sum_exp;             ///< [T, 1]
    double loss_sum = 0;            ///< of this rank's tokens, in nats
    /// Statistics of this rank, one per layer with experts, ascending.
    [[nodiscard]] std::vector<RouterStatistics> statistics() const;
};

/// What the objective asks of a backward.
struct ObjectiveScales {
    double loss = 1;                      ///< 1 / T_loss
    std::vector<RouterGradient> routers;  ///< one per layer with experts
};

/// A decoder-only language model with Mixture-of-Experts layers (Mixtral's conventions: pre-norm, rotary positions,
/// grouped-query attention), as explicit forward and backward.
///
/// Both are collective over the EP group, also for ranks without tokens. Parameters and runtime must outlive it.
class Transformer {
public:
    Transformer(const ModelOptions& options, CombineOrder order, const MoeRuntime& runtime, Parameters& parameters);

    /// Logits and loss of one micro-batch. `training` turns router noise on.
    [[nodiscard]] TransformerState forward(const MicroBatch& batch, const TokenScope& scope, bool training) const;

    using BlockReady = std::function<void(ParameterBlock&)>;
    /// Adds to the gradients of all blocks held here; `ready` is called for each block once nothing more will be added
    /// by this backward, in the same order on all ranks up to the experts they hold.
    /// Returns the gradient of the embedded tokens [T, H]. Overwrites state.logits.
    Matrix backward(const MicroBatch& batch, TransformerState& state, const ObjectiveScales& scales,
                    const BlockReady& ready) const;

    /// Logits of new tokens of one sequence that follow what the cache holds, which grows by them: prefill, then
    /// decoding. Collective over the EP group: every rank passes its own sequence, perhaps an empty one.
    [[nodiscard]] Matrix extend(std::span<const int> tokens, KvCache& cache) const;

    [[nodiscard]] const ModelOptions& options() const { return options_; }

private:
    struct Layer;
    ModelOptions options_;
    Device& device_;
    std::vector<std::unique_ptr<Layer>> layers_;
    ParameterBlock* embedding_;
    ParameterBlock* norm_;
    ParameterBlock* head_;  // the embedding's when tied

public:
    ~Transformer();
};

}  // namespace expar
