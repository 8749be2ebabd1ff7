#pragma once

#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// Heads of the queries and of the keys and values; heads % kv_heads == 0, head h reads kv head h / (heads / kv_heads).
struct AttentionShape {
    int heads = 1;
    int kv_heads = 1;
    int head_size = 0;
};

/// Which rows of q belong to a sequence, and which rows of k and v it may read.
///
/// Sequence s has queries query_offsets[s] … query_offsets[s+1] and keys key_offsets[s] … key_offsets[s+1], at least as
/// many keys as queries; its last query reads all keys, the one before it all but the last, and so on (causal). In
/// training both offsets are the same; with a cache there are more keys.
struct AttentionSpans {
    std::span<const int> query_offsets;
    std::span<const int> key_offsets;
};

/// Causal grouped-query attention over ragged sequences, scale 1/sqrt(head_size), and rotary positions.
class AttentionOperations {
public:
    virtual ~AttentionOperations() = default;

    /// Rotates x in place: in every head the pair (i, i + d/2) by position · theta^(-2i/d) (Su et al., "RoFormer",
    /// 2021, in the rotate-half layout). direction -1 undoes it, which is also the gradient.   x [n, heads · head_size]
    virtual void rotate(Rows x, std::span<const int> positions, int head_size, double theta, int direction,
                        Stream& stream) const = 0;

    struct Inputs {
        ConstRows q;     ///< [n, heads d]
        ConstRows k, v;  ///< [m, kv_heads d]
    };
    /// out [n, heads d]; log_sum_exp [n, heads], of the wide dtype
    virtual void forward(const AttentionShape& shape, const AttentionSpans& spans, const Inputs& in, Rows out,
                         Rows log_sum_exp, Stream& stream) const = 0;

    /// What backward needs of forward.
    struct Saved {
        Inputs in;
        ConstRows out, log_sum_exp;
    };
    struct Gradients {
        Rows d_q, d_k, d_v;
    };
    /// Assigns the three gradients. Query spans equal key spans.
    virtual void backward(const AttentionShape& shape, std::span<const int> offsets, const Saved& saved,
                          ConstRows d_out, const Gradients& gradients, Stream& stream) const = 0;
};

}  // namespace expar
