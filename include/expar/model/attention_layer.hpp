#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "expar/compute/attention.hpp"
#include "expar/model/kv_cache.hpp"
#include "expar/model/micro_batch.hpp"
#include "expar/model/model_options.hpp"
#include "expar/moe/parameter_block.hpp"

namespace expar {

/// Whether queries and keys are normalised before they are rotated, and over what.
enum class QkNorm {
    none,
    projection,  ///< over the whole projection, before the heads are split (OLMoE)
    head,        ///< over each head
};
[[nodiscard]] QkNorm qk_norm_named(std::string_view name);  ///< throws UserError that lists the known names

/// The tensors of a layer's attention block in order; feed_forward_norm is the last.
[[nodiscard]] std::vector<TensorSpec> attention_tensors(const ModelOptions& options, int layer);

/// What the backward of an attention layer needs. Q = heads d, K = kv_heads d.
struct AttentionState {
    Matrix normed, inverse_rms;           ///< of the layer's input
    Matrix projected;                     ///< [T, Q + 2 K], queries, keys and values side by side
    Matrix turned;                        ///< [T, Q + K], queries and keys after norm and rotation; empty without norm
    Matrix q_inverse_rms, k_inverse_rms;  ///< of their norm; empty without
    Matrix out, log_sum_exp;              ///< [T, Q], [T, heads]
};

/// x + output(attention(norm(x))): norm, projections, optional norms on queries and keys, rotation, attention. Local.
///
/// Its block holds attention_norm, query, key, value, output, and query_norm, key_norm if there are any, in this order
/// (feed_forward_norm follows them in the same block).
class AttentionLayer {
public:
    /// `options` must be resolved. The block must outlive it.
    AttentionLayer(Device& device, const ModelOptions& options, int layer, ParameterBlock& block);

    /// x [T, H] → y [T, H], the residual included
    [[nodiscard]] AttentionState forward(const MicroBatch& batch, ConstRows x, Rows y) const;
    /// d_y → d_x, the residual's path included; adds to the block's gradient
    void backward(const MicroBatch& batch, ConstRows x, const AttentionState& state, ConstRows d_y, Rows d_x) const;
    /// As forward, for tokens that follow the cache's; writes their keys and values behind them (before KvCache::grow).
    void extend(std::span<const int> positions, ConstRows x, KvCache& cache, Rows y) const;

private:
    [[nodiscard]] int query_columns() const { return shape_.heads * shape_.head_size; }
    [[nodiscard]] int key_columns() const { return shape_.kv_heads * shape_.head_size; }
    void project(std::span<const int> positions, ConstRows x, AttentionState& state) const;
    void turn(std::span<const int> positions, Rows x, int direction) const;
    [[nodiscard]] AttentionOperations::Saved saved(const AttentionState& state) const;
    void add_output(ConstRows x, ConstRows out, Rows y) const;
    [[nodiscard]] Matrix project_backward(const MicroBatch& batch, const AttentionState& state, ConstRows d_out) const;

    Device& device_;
    ModelOptions options_;
    int layer_;
    AttentionShape shape_;
    QkNorm qk_norm_;
    ParameterBlock& block_;
};

}  // namespace expar
