#pragma once

#include "expar/model/transformer.hpp"

namespace expar {

/// One layer: attention, then experts or a dense network, each behind a norm and beside a residual path.
struct Transformer::Layer {
    Layer(const ModelOptions& options, int layer, CombineOrder order, const MoeRuntime& runtime,
          const Parameters& parameters);

    /// state.x → the layer's output; fills the rest of the state.
    [[nodiscard]] Matrix forward(const MicroBatch& batch, const TokenScope& scope, bool training,
                                 LayerState& state) const;
    /// after_attention + feed_forward(norm(after_attention)), which fills the rest of the state.
    [[nodiscard]] Matrix feed_forward(LayerState& state, const TokenScope& scope, bool training) const;
    /// d_y → d_after_attention, in place; `ready` is told of every block but the attention's
    void feed_forward_backward(LayerState& state, Rows d, const RouterGradient& gradient,
                               const BlockReady& ready) const;

    Device& device;
    PhaseClock* clock;
    int index;
    double norm_epsilon;
    ParameterBlock& attention_block;
    int norm_tensor;  ///< of the feed-forward network, in attention_block
    AttentionLayer attention;
    std::vector<ParameterBlock*> feed_forward_blocks;
    std::optional<MoeLayer> moe;
    std::optional<Experts> dense;
};

}  // namespace expar
