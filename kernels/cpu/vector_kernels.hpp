#pragma once

#include "expar/base/bfloat16.hpp"

namespace expar {

// The inner loops of kernels/cpu, over one row or one run of elements each, for one instruction set. The loops are
// templates in vector/, compiled once in avx2/ and once in avx512/ for that folder's vector type. Those two files
// call no inline function of any other header: compiled there, it could replace everyone's.

/// One table for each type that rows are kept in. Arithmetic is float32 for both; an element is rounded when it is
/// stored.
template <template <class Element> class Kernels>
struct ByElement {
    Kernels<float> wide;
    Kernels<bfloat16> narrow;

    template <class Element>
    [[nodiscard]] constexpr const Kernels<Element>& of() const {
        if constexpr (sizeof(Element) == sizeof(float))
            return wide;
        else
            return narrow;
    }
};

/// Consecutive runs of rows.
struct RowRuns {
    const int* ends;
    int count;
};

/// Rows of one sum, and those of the sum behind it, which are fetched meanwhile.
template <class Element>
struct RowTerms {
    const Element* const* rows;
    const float* weights;
    int count;
    const Element* const* next = nullptr;
    int next_count = 0;
};

/// A row that is scaled and multiplied with another, and one that is fetched meanwhile.
template <class Element>
struct RowProduct {
    float factor;
    const Element *in, *other;
    const Element* next = nullptr;
};

/// One kernel that stores into the caches, and one that stores past them: `out` at a line, and the caller makes a store
/// fence before others read it.
template <class Kernel>
struct ByStores {
    Kernel ordinary, past_caches;
};

template <class Element>
struct RowKernels {
    void (*scale)(float factor, const Element* in, Element* out, long count);       ///< out = factor in
    void (*add_scaled)(float factor, const Element* in, Element* out, long count);  ///< out = fma(factor, in, out)
    void (*add)(const Element* in, Element* out, long count);                       ///< out += in
    void (*add_to_floats)(const Element* in, float* out, long count);               ///< out += in
    float (*dot)(const Element* a, const Element* b, long count);
    double (*sum_of_squares)(const Element* in, long count);                ///< in float64
    void (*copy_past_caches)(const Element* in, Element* out, long count);  ///< as ByStores has it
    /// out = Σ_j weights[j] rows[j], by fma from 0, j ascending
    ByStores<void (*)(const RowTerms<Element>& terms, Element* out, long count)> weighted_sum;
    /// out = Σ_g round(Σ_j in group g weights[j] rows[j]), both as weighted_sum adds; group g ends before ends[g]
    ByStores<void (*)(const RowTerms<Element>& terms, RowRuns groups, Element* out, long count)> sum_of_sums;
    /// out = factor in; returns in · other
    ByStores<float (*)(const RowProduct<Element>& product, Element* out, long count)> scale_and_dot;
};

/// From `in` to `count` elements of `out`. SwiGLU's `in` has twice as many: the gates, then the values.
struct ActivationKernels {
    using Forward = void (*)(const float* in, float* out, long count);
    using Backward = void (*)(const float* in, const float* d_out, float* d_in, long count);

    Forward swiglu, gelu, gelu_tanh, relu;
    Backward swiglu_backward, gelu_backward, gelu_tanh_backward, relu_backward;
};

/// The parts of a run of activations apart from each other, in place of a product's results.
struct ActivationParts {
    float* in;           ///< SwiGLU: the gates
    float* value;        ///< of SwiGLU alone
    const float* d_out;  ///< of the way back alone
    float* out;
};

/// One activation on parts.
struct PartedActivation {
    void (*forward)(const ActivationParts& parts, long count);  ///< out from in and value
    /// out once more, and the gradients of in and value in their place
    void (*backward)(const ActivationParts& parts, long count);
};

struct PartedActivationKernels {
    PartedActivation swiglu, gelu, gelu_tanh, relu;
};

/// Between float32 and bfloat16, rounded to the nearest, ties to even; NaN stays one.
struct ConversionKernels {
    void (*widen)(const bfloat16* in, float* out, long count);
    void (*round)(const float* in, bfloat16* out, long count);
    void (*add_round)(const float* in, bfloat16* out, long count);  ///< out = round(out + in)
};

/// a weight dy - b x
template <class Element>
struct NormGradient {
    float a, b;
    const Element* x;
    const float* weight;
    const Element* dy;
};

template <class Element>
struct NormKernels {
    /// out = in · scale · weight
    void (*apply)(float scale, const Element* in, const float* weight, Element* out, long count);
    /// Σ weight a b
    float (*weighted_dot)(const float* weight, const Element* a, const Element* b, long count);
    void (*backward)(const NormGradient<Element>& gradient, Element* dx, long count);      ///< dx = gradient
    void (*add_backward)(const NormGradient<Element>& gradient, Element* dx, long count);  ///< dx += gradient
    /// d_weight += scale x dy
    void (*add_weight_gradient)(float scale, const Element* x, const Element* dy, float* d_weight, long count);
};

struct SoftmaxKernels {
    float (*largest)(const float* in, long count);  ///< -infinity when there is none
    /// out = e^(in - shift); returns its sum
    float (*exponentials)(float shift, const float* in, float* out, long count);
    /// The sum alone
    float (*sum_of_exponentials)(float shift, const float* in, long count);
};

template <class Element>
struct LossKernels {
    /// out = factor e^(in - shift)
    void (*gradient)(float factor, float shift, const float* in, Element* out, long count);
};

struct Rotation {
    const float *cosine, *sine;  ///< [half]
    float direction;
    int half;
};

template <class Element>
struct RotationKernels {
    /// In each of `count` heads of 2 half columns, (a, b) = (a cosine - b direction sine, b cosine + a direction sine)
    /// for the pairs (i, i + half)
    void (*rotate)(const Rotation& rotation, Element* heads, int count);
};

struct AdamWFactors {
    float gradient_scale, beta1, beta2, one_minus_beta1, one_minus_beta2;
    float inverse_correction1, inverse_correction2, epsilon;
    float learning_rate, weight_decay;
};

struct AdamWRow {
    const float* gradient;
    float *value, *moment1, *moment2;
};

struct SgdFactors {
    float learning_rate, weight_decay, gradient_scale;
};

struct UpdateKernels {
    void (*adamw)(const AdamWFactors& factors, const AdamWRow& row, long count);
    /// value -= learning_rate (gradient_scale gradient + weight_decay value)
    void (*sgd)(const SgdFactors& factors, const float* gradient, float* value, long count);
};

/// c (+)= a b for a narrow panel of columns. Every element of c is one chain of fma over the depth, ascending: its bits
/// depend on its row of a and its column of b alone, and a depth may be taken in parts.
struct PanelProduct {
    int rows, columns, depth;  ///< columns <= panel_columns
    const float* a;            ///< [rows, depth]
    long a_stride;
    bool a_tiled = false;  ///< a is aᵀ [depth, rows] as pack_left leaves it; then a_stride does not count
    const float* b;        ///< [depth, panel_columns], packed
    float* c;              ///< [rows, columns]
    long c_stride;
    bool add;                  ///< the chain starts from what is there, else from 0
    long after_b = 0;          ///< floats behind b that are brought near meanwhile, for the product to come
    bool past_caches = false;  ///< see OuterProducts
};

/// c (+)= aᵀ b of few rows each: c takes longest, and is written along its rows. Bits are those of PanelProduct.
struct OuterProducts {
    int rows, columns, depth;
    const float* a;  ///< as pack_left leaves it
    const float* b;  ///< panels of [depth, panel_columns], packed
    long b_stride;   ///< from one panel to the next
    float* c;        ///< [rows, columns]
    long c_stride;
    bool add;
    /// Whole panels of c are written past the caches, whose lines c and its rows then start with. The caller makes a
    /// store fence before others read it. Not with add.
    bool past_caches;
};

struct ProductKernels {
    int panel_columns;
    int tile_rows;  ///< of c, whose sums are in registers at once
    void (*multiply)(const PanelProduct& product);
    void (*add_outer_products)(const OuterProducts& products);
    /// out[d][r] = in[r][d] of `rows` <= panel_columns rows and `depth` columns, zeros up to panel_columns
    void (*pack_transposed)(const float* in, long stride, int rows, int depth, float* out);
    /// out[d][c] = in[d][c] of `depth` rows and `columns` <= panel_columns, zeros up to panel_columns
    void (*pack)(const float* in, long stride, int depth, int columns, float* out);
    /// The left factor inᵀ of `in` [depth, rows], for a product of as many rows: tiles of [depth + 1, left_columns].
    void (*pack_left)(const float* in, long stride, int depth, int rows, float* out);
    int left_columns;
};

/// Some keys, and which of them a block of queries sees: the query in lane l keys 0 … visible + l.
struct AttentionBlock {
    int keys = 0;  ///< the last of them is seen by some lane
    int visible = 0;
    int queries = 0;                         ///< lanes in use: with one vector of them the other may stay undefined
    bool first = false;                      ///< of the queries' blocks of keys: what they add to is undefined yet
    int depth = 0;                           ///< of a head
    float scale = 0;                         ///< log2 e / sqrt(depth)
    const float *k = nullptr, *v = nullptr;  ///< [keys, key_stride]
    long key_stride = 0;                     ///< backward: a multiple of vector_floats, zeros beyond depth
};

/// What one query of a block is in is its lane.
struct ForwardState {
    const float* q;          ///< [depth, lanes]
    float* out;              ///< [depth, lanes], to be divided by sum at the end
    float *largest, *sum;    ///< [lanes], of scale q k so far, and of 2^(scale q k - largest)
    float *scores, *factor;  ///< scratch [keys, lanes], [lanes]
};
struct BackwardState {
    const float *q, *d_out;            ///< [depth, lanes]
    const float *q_rows, *d_out_rows;  ///< [lanes, key_stride], zeros in the lanes of no query
    const float *log_sum, *mean;  ///< [lanes]: log2 of the sum of 2^(scale q k), the inner product of d_out and out
    float* d_q;                   ///< [depth, lanes], added to; to be multiplied by 1/sqrt(depth) at the end
    float *d_k, *d_v;             ///< [keys, key_stride], added to; d_k as d_q
    float *scores, *d_scores;     ///< scratch [keys, lanes]
};

/// Rows in scratch memory.
struct RowBlock {
    float* data;
    long stride;
    int rows, columns;
};

template <class Element>
struct AttentionRowKernels {
    /// out = in, zeros from its columns up to its stride
    void (*read)(const Element* in, long in_stride, const RowBlock& out);
    /// out = factors in, one factor a row
    void (*write)(const float* factors, const RowBlock& in, Element* out, long out_stride);
};

struct AttentionKernels {
    int lanes;  ///< queries of a block
    int vector_floats;
    void (*forward)(const AttentionBlock& block, const ForwardState& state);
    void (*backward)(const AttentionBlock& block, const BackwardState& state);
    /// The parts of both that are no product, on scores of all keys and lanes
    void (*soften)(const AttentionBlock& block, const ForwardState& state);
    void (*score_gradients)(const AttentionBlock& block, const BackwardState& state);
    void (*scale_lanes)(const float* factors, float* out, int rows);  ///< out [rows, lanes], a factor for each lane
    /// out[c][r] = in[r][c], zeros up to `padded_rows`
    void (*transpose)(const RowBlock& in, float* out, long out_stride, int padded_rows);
    /// out[r] = the inner product of a's row r and that of b, which has a's stride
    void (*inner_products)(const RowBlock& a, const float* b, float* out);
    ByElement<AttentionRowKernels> rows;
};

struct VectorKernels {
    ByElement<RowKernels> rows;
    ActivationKernels activation;
    PartedActivationKernels parted_activation;
    ConversionKernels conversion;
    ByElement<NormKernels> norm;
    SoftmaxKernels softmax;
    ByElement<LossKernels> loss;
    ByElement<RotationKernels> rotation;
    UpdateKernels update;
    ProductKernels product;
    AttentionKernels attention;
};

extern const VectorKernels avx2_kernels;
extern const VectorKernels avx512_kernels;

}  // namespace expar
