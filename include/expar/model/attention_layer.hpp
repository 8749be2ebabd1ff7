#pragma once

#include <vector>

#include "expar/compute/attention.hpp"
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

/// What the backward of an attention layer needs.
struct AttentionState {
    Matrix normed, inverse_rms;  ///< of the layer's input
    Matrix q_raw, k_raw;         ///< before their norm; empty without
    Matrix q_inverse_rms, k_inverse_rms;
    Matrix q, k, v, out, log_sum_exp;
};

/// Keys and values of the tokens of one sequence so far, per layer, rotated and ready to be read.
class KvCache {
public:
    KvCache(Device& device, const ModelOptions& options, int capacity);
    [[nodiscard]] int length() const { return length_; }
    [[nodiscard]] int capacity() const { return capacity_; }
    [[nodiscard]] Rows keys(int layer) { return keys_[layer]; }      ///< [capacity, kv_heads d]
    [[nodiscard]] Rows values(int layer) { return values_[layer]; }  ///< [capacity, kv_heads d]
    /// Throws UserError when `tokens` more do not fit.
    void grow(int tokens);

private:
    int length_ = 0;
    int capacity_;
    std::vector<Matrix> keys_, values_;
};

/// x + output(attention(norm(x))): norm, projections, optional norms on queries and keys, rotation, attention. Local.
///
/// Its block holds attention_norm, query, key, value, output, and query_norm, key_norm if there are any, in this order
/// (feed_forward_norm follows them in the same block).
class AttentionLayer {
public:
    AttentionLayer(Device& device, const ModelOptions& options, int layer, ParameterBlock& block);

    /// x [T, H] → y [T, H], the residual included
    [[nodiscard]] AttentionState forward(const MicroBatch& batch, ConstRows x, Rows y) const;
    /// d_y → d_x, the residual's path included; adds to the block's gradient
    void backward(const MicroBatch& batch, ConstRows x, const AttentionState& state, ConstRows d_y, Rows d_x) const;
    /// As forward, for tokens that follow the cache's; writes their keys and values behind them (before KvCache::grow).
    void extend(std::span<const int> positions, ConstRows x, KvCache& cache, Rows y) const;

private:
    Device& device_;
    ModelOptions options_;
    int layer_;
    AttentionShape shape_;
    QkNorm qk_norm_;
    ParameterBlock& block_;
};

[[nodiscard]] std::vector<TensorSpec> attention_tensors(const ModelOptions& options, int layer);

}  // namespace expar
