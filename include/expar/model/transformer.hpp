#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "expar/model/attention_layer.hpp"
#include "expar/model/kv_cache.hpp"
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

    /// Only the input, and what the router found, is left.
    void keep_input();
};

/// What a forward keeps of its layers. With their inputs alone, a backward first runs the forward of each again, from
/// which it gets the same bits; what it needs is then alive of one layer at a time.
enum class Keep { all, inputs };

/// What the backward of a forward needs, and what the forward found. A value; the caller may drop or keep it.
struct TransformerState {
    std::vector<LayerState> layers;
    Matrix x, normed, inverse_rms;  ///< input of the final norm, and its result
    Matrix logits;                  ///< [T, V], of the wide dtype
    Matrix log_sum_exp;             ///< [T, 1], of the wide dtype
    double loss_sum = 0;            ///< of this rank's tokens, in nats
    Keep keep = Keep::all;
    TokenScope scope;  ///< of the forward, which a backward may have to repeat
    bool training = false;
    /// Statistics of this rank, one per layer with experts, ascending.
    [[nodiscard]] std::vector<RouterStatistics> statistics() const;
};

/// What the objective asks of a backward.
struct ObjectiveScales {
    double loss = 1;                      ///< 1 / T_loss
    std::vector<RouterGradient> routers;  ///< one per layer with experts, ascending
};

/// A decoder-only language model with Mixture-of-Experts layers (Mixtral's conventions: pre-norm, rotary positions,
/// grouped-query attention), as explicit forward and backward.
///
/// forward, backward and extend are collective over the EP group, also for ranks without tokens.
class Transformer {
public:
    /// Rows are of `dtype`: the parameters' or, for those of float32, bfloat16. `options` must be resolved. Parameters
    /// and what the runtime points to must outlive it.
    Transformer(const ModelOptions& options, CombineOrder order, const MoeRuntime& runtime, Parameters& parameters,
                DType dtype);
    ~Transformer();

    /// Logits and loss of one micro-batch. `training` turns router noise and capacity on. Throws Error, before anything
    /// is sent, for a token outside the vocabulary.
    [[nodiscard]] TransformerState forward(const MicroBatch& batch, const TokenScope& scope, bool training,
                                           Keep keep = Keep::all) const;

    using BlockReady = std::function<void(ParameterBlock&)>;
    /// Adds to the gradients of all blocks held here; `ready` is called for each block once nothing more will be added
    /// by this backward, in the reverse of their order in Parameters, which all ranks share up to the experts they
    /// hold. Returns the gradient of the embedded tokens [T, H]. Consumes the state.
    Matrix backward(const MicroBatch& batch, TransformerState& state, const ObjectiveScales& scales,
                    const BlockReady& ready) const;

    /// Logits of new tokens of one sequence that follow what the cache holds, which grows by them: prefill, then
    /// decoding. Every rank of the EP group passes its own sequence, perhaps no tokens. Throws Error when they do not
    /// fit.
    [[nodiscard]] Matrix extend(std::span<const int> tokens, KvCache& cache) const;

    [[nodiscard]] const ModelOptions& options() const { return options_; }
    [[nodiscard]] Device& device() const { return device_; }
    [[nodiscard]] DType dtype() const { return dtype_; }  ///< of rows

private:
    struct Layer;
    void check_tokens(std::span<const int> tokens) const;
    [[nodiscard]] Matrix embed(std::span<const int> tokens) const;
    void score_vocabulary(TransformerState& state) const;
    [[nodiscard]] Matrix score_vocabulary_backward(const TransformerState& state, ConstRows d_logits) const;

    ModelOptions options_;
    Device& device_;
    PhaseClock* clock_;
    DType dtype_;
    std::vector<std::unique_ptr<Layer>> layers_;
    ParameterBlock* embedding_;
    ParameterBlock* norm_;
    ParameterBlock* head_;  // the embedding's when tied
};

}  // namespace expar
