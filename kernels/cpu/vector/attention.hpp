#pragma once

#include "../vector_kernels.hpp"
#include "attention_tiles.hpp"
#include "math.hpp"

namespace expar {

// A block of queries against a block of keys. A query is a lane of two vectors, a key is a row of scores: what is said
// of a query (largest, sum) never crosses lanes, a key's and a value's elements are factors of whole vectors, as they
// lie in memory, and no query's bits depend on its lane or on its neighbours.
//
//     Sᵀ = K Qᵀ     Oᵀ += Vᵀ Pᵀ     d_Pᵀ = V d_Oᵀ     d_Qᵀ += Kᵀ d_Sᵀ     d_V += Pᵀ d_O     d_K += d_Sᵀ Q
//
// In a block on the diagonal the last keys are seen by the upper vector's queries alone: rows of the upper vector.

/// How many of the block's keys the lower vector's queries see, of the first `keys`.
template <class Vector>
[[gnu::always_inline]] inline int keys_of_lower(int visible, int keys) {
    const int seen = visible + Vector::width;
    return seen < 0 ? 0 : seen < keys ? seen : keys;
}

/// Scores of the keys that only some lanes see become `hidden` in the others.
template <class Vector>
[[gnu::always_inline]] inline Vector seen_or(Vector value, int key, int visible, Vector lane, Vector hidden) {
    return if_less(lane, Vector::all(float(key - visible)), hidden, value);
}

/// c = rows · queries: every key of the block with every query that may see it.
template <class Vector>
void multiply_with_queries(const AttentionBlock& block, const float* rows, const float* queries, float* c) {
    constexpr int lanes = attention_lanes<Vector>;
    const int both = keys_of_lower<Vector>(block.visible, block.keys);
    TileProduct p{both, block.depth, rows, block.key_stride, queries, c, lanes};
    multiply_tiles<Vector, 2, lanes, PlainLeft>(p);
    p.rows = block.keys - both;
    p.a += both * block.key_stride;
    p.b += Vector::width;
    p.c += both * lanes + Vector::width;
    multiply_tiles<Vector, 1, lanes, PlainLeft>(p);
}

/// c = c factors + rowsᵀ · weights, over the keys in ascending order; no factors: 1; the first block: 0.
template <class Vector>
void add_weighted_keys(const AttentionBlock& block, const float* rows, const float* weights, const float* factors,
                       float* c) {
    constexpr int lanes = attention_lanes<Vector>;
    const int both = keys_of_lower<Vector>(block.visible, block.keys);
    TileProduct p{block.depth, both, rows, block.key_stride, weights, c, lanes};
    p.add = !block.first;
    p.factors = block.first ? nullptr : factors;
    multiply_tiles<Vector, 2, lanes, TransposedLeft>(p);
    if (both == block.keys) return;
    p = {block.depth,
         block.keys - both,
         rows + both * block.key_stride,
         block.key_stride,
         weights + both * lanes + Vector::width,
         c + Vector::width,
         lanes};
    p.add = true;
    multiply_tiles<Vector, 1, lanes, TransposedLeft>(p);
}

/// c += weights · rows of the queries, columns a multiple of a vector's.
template <class Vector>
void add_weighted_queries(const AttentionBlock& block, const float* weights, const float* rows, float* c) {
    constexpr int lanes = attention_lanes<Vector>;
    const long columns = block.key_stride;
    const int both = keys_of_lower<Vector>(block.visible, block.keys);
    const auto multiply = [&](int first, int count, int first_lane, long column, auto vectors) {
        TileProduct p{count,
                      lanes - first_lane,
                      weights + first * lanes + first_lane,
                      lanes,
                      rows + first_lane * columns + column,
                      c + first * columns + column,
                      columns};
        p.add = true;
        multiply_tiles<Vector, vectors.count, 0, PlainLeft>(p);
    };
    const auto multiply_columns = [&](int first, int count, int first_lane) {
        long column = 0;
        for (; column + lanes <= columns; column += lanes) multiply(first, count, first_lane, column, Vectors<2>{});
        if (column < columns) multiply(first, count, first_lane, column, Vectors<1>{});
    };
    multiply_columns(0, both, 0);
    multiply_columns(both, block.keys - both, Vector::width);
}

/// Hides what the vector's lanes do not see, and returns the largest score of each.
template <class Vector>
[[gnu::always_inline]] inline Vector mask_and_largest(float* scores, int keys, int visible, Vector lane) {
    const Vector lowest = Vector::all(-__builtin_inff());
    const int seen_by_all = visible + 1 < 0 ? 0 : visible + 1 < keys ? visible + 1 : keys;
    Vector even = lowest, odd = lowest;
    int j = 0;
    for (; j + 2 <= seen_by_all; j += 2) {
        even = max(even, Vector::load(scores + j * attention_lanes<Vector>));
        odd = max(odd, Vector::load(scores + (j + 1) * attention_lanes<Vector>));
    }
    for (; j < keys; ++j) {
        float* at = scores + j * attention_lanes<Vector>;
        const Vector score = seen_or(Vector::load(at), j, visible, lane, lowest);
        score.store(at);
        even = max(even, score);
    }
    return max(even, odd);
}

// Softmax of one vector's queries over the keys so far: scores become 2^(scale score - largest), `sum` theirs; what was
// summed before is to be multiplied by `factor`.
template <class Vector>
void soften(const AttentionBlock& block, int first_lane, int keys, const ForwardState& state) {
    const Vector scale = Vector::all(block.scale);
    float* scores = state.scores + first_lane;
    const Vector lane = Vector::load(lane_numbers) + Vector::all(float(first_lane));
    const Vector before = block.first ? Vector::all(-__builtin_inff()) : Vector::load(state.largest + first_lane);
    const Vector largest = max(before, scale * mask_and_largest(scores, keys, block.visible, lane));
    Vector even = Vector::all(0), odd = Vector::all(0);
    const auto weigh = [&](int j) {
        float* at = scores + j * attention_lanes<Vector>;
        const Vector weight = exp2(fma(scale, Vector::load(at), Vector::all(0) - largest));
        weight.store(at);
        return weight;
    };
    int j = 0;
    for (; j + 2 <= keys; j += 2) {
        even = even + weigh(j);
        odd = odd + weigh(j + 1);
    }
    if (j < keys) even = even + weigh(j);
    Vector total = even + odd;
    if (!block.first) {
        const Vector factor = exp2(before - largest);
        total = fma(Vector::load(state.sum + first_lane), factor, total);
        factor.store(state.factor + first_lane);
    }
    total.store(state.sum + first_lane);
    largest.store(state.largest + first_lane);
}

template <class Vector>
void attention_forward(const AttentionBlock& block, const ForwardState& state) {
    multiply_with_queries<Vector>(block, block.k, state.q, state.scores);
    soften<Vector>(block, 0, keys_of_lower<Vector>(block.visible, block.keys), state);
    soften<Vector>(block, Vector::width, block.keys, state);
    add_weighted_keys<Vector>(block, block.v, state.scores, state.factor, state.out);
}

// P = 2^(scale S - log_sum), d_S = P (d_P - mean), of one vector's queries; 0 where a query does not see.
template <class Vector>
void score_gradients(const AttentionBlock& block, int first_lane, int keys, const BackwardState& state) {
    const Vector scale = Vector::all(block.scale), zero = Vector::all(0);
    const Vector lane = Vector::load(lane_numbers) + Vector::all(float(first_lane));
    const Vector shift = zero - Vector::load(state.log_sum + first_lane);
    const Vector mean = Vector::load(state.mean + first_lane);
    for (int j = 0; j < keys; ++j) {
        float* p = state.scores + j * attention_lanes<Vector> + first_lane;
        float* d_s = state.d_scores + j * attention_lanes<Vector> + first_lane;
        Vector probability = exp2(fma(scale, Vector::load(p), shift));
        if (j > block.visible) probability = seen_or(probability, j, block.visible, lane, zero);
        probability.store(p);
        (probability * (Vector::load(d_s) - mean)).store(d_s);
    }
}

template <class Vector>
void attention_backward(const AttentionBlock& block, const BackwardState& state) {
    multiply_with_queries<Vector>(block, block.k, state.q, state.scores);
    multiply_with_queries<Vector>(block, block.v, state.d_out, state.d_scores);
    score_gradients<Vector>(block, 0, keys_of_lower<Vector>(block.visible, block.keys), state);
    score_gradients<Vector>(block, Vector::width, block.keys, state);
    add_weighted_keys<Vector>(block, block.k, state.d_scores, nullptr, state.d_q);
    add_weighted_queries<Vector>(block, state.scores, state.d_out_rows, state.d_v);
    add_weighted_queries<Vector>(block, state.d_scores, state.q_rows, state.d_k);
}

template <class Vector>
void soften_block(const AttentionBlock& block, const ForwardState& state) {
    for (int v = 0; v < attention_lanes<Vector>; v += Vector::width) soften<Vector>(block, v, block.keys, state);
}

template <class Vector>
void score_gradients_of_block(const AttentionBlock& block, const BackwardState& state) {
    for (int v = 0; v < attention_lanes<Vector>; v += Vector::width)
        score_gradients<Vector>(block, v, block.keys, state);
}

template <class Vector>
void scale_lanes(const float* factors, float* out, int rows) {
    for (int v = 0; v < attention_lanes<Vector>; v += Vector::width) {
        const Vector factor = Vector::load(factors + v);
        for (int r = 0; r < rows; ++r) {
            float* at = out + r * attention_lanes<Vector> + v;
            (factor * Vector::load(at)).store(at);
        }
    }
}

template <class Vector>
constexpr AttentionKernels attention_kernels = {attention_lanes<Vector>,
                                                Vector::width,
                                                attention_forward<Vector>,
                                                attention_backward<Vector>,
                                                soften_block<Vector>,
                                                score_gradients_of_block<Vector>,
                                                scale_lanes<Vector>,
                                                transpose_rows<Vector>,
                                                inner_products_of_rows<Vector>,
                                                {{read_rows<Vector, float>, write_rows<Vector, float>},
                                                 {read_rows<Vector, bfloat16>, write_rows<Vector, bfloat16>}}};

}  // namespace expar
