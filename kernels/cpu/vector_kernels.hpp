#pragma once

#include <stdint.h>

namespace expar {

// The inner loops of kernels/cpu, over one row or one run of elements each, for one instruction set. The loops are
// templates in vector/, compiled once in avx2/ and once in avx512/ for that folder's vector type. Those two files
// include nothing of the standard library: an inline function of it, compiled there, could replace everyone's.

struct RowKernels {
    void (*scale)(float factor, const float* in, float* out, long count);       ///< out = factor in
    void (*add_scaled)(float factor, const float* in, float* out, long count);  ///< out = fma(factor, in, out)
    void (*add)(const float* in, float* out, long count);                       ///< out += in
    /// out = Σ_j weights[j] rows[j], by fma from 0, j ascending
    void (*weighted_sum)(const float* const* rows, const float* weights, int terms, float* out, long count);
    float (*dot)(const float* a, const float* b, long count);
    void (*sigmoid)(const float* in, float* out, long count);
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

/// Between float32 and the bits of bfloat16, rounded to the nearest, ties to even; NaN stays one.
struct ConversionKernels {
    void (*widen)(const uint16_t* in, float* out, long count);
    void (*round)(const float* in, uint16_t* out, long count);
    void (*add_round)(const float* in, uint16_t* out, long count);  ///< out = round(out + in)
};

/// a weight dy - b x
struct NormGradient {
    float a, b;
    const float *x, *weight, *dy;
};

struct NormKernels {
    /// out = in · scale · weight
    void (*apply)(float scale, const float* in, const float* weight, float* out, long count);
    /// Σ a b c
    float (*dot3)(const float* a, const float* b, const float* c, long count);
    void (*backward)(const NormGradient& gradient, float* dx, long count);      ///< dx = gradient
    void (*add_backward)(const NormGradient& gradient, float* dx, long count);  ///< dx += gradient
    /// d_weight += scale x dy
    void (*add_weight_gradient)(float scale, const float* x, const float* dy, float* d_weight, long count);
};

struct SoftmaxKernels {
    float (*largest)(const float* in, long count);  ///< -infinity when there is none
    /// out = e^(scale in - shift); returns its sum
    float (*exponentials)(float scale, float shift, const float* in, float* out, long count);
    /// d_scores = probability (d_probability - mean) scale, in place of d_probability
    void (*backward)(float scale, float mean, const float* probability, float* d_probability, long count);
};

struct Rotation {
    const float *cosine, *sine;  ///< [half]
    float direction;
    int half;
};

struct RotationKernels {
    /// In each of `count` heads of 2 half columns, (a, b) = (a cosine - b direction sine, b cosine + a direction sine)
    /// for the pairs (i, i + half)
    void (*rotate)(const Rotation& rotation, float* heads, int count);
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
    double (*sum_of_squares)(const float* in, long count);  ///< in float64
};

/// c (+)= a b for a narrow panel of columns. Every element of c is one chain of fma over the depth, ascending: its bits
/// depend on its row of a and its column of b alone, and a depth may be taken in parts.
struct PanelProduct {
    int rows, columns, depth;  ///< columns <= panel_columns
    const float* a;            ///< [rows, depth], or [depth, rows] when transposed
    long a_stride;
    bool a_transposed;
    bool a_tiled = false;  ///< as pack_left leaves it; then a_stride and a_transposed do not count
    const float* b;        ///< [depth, panel_columns], packed
    float* c;              ///< [rows, columns]
    long c_stride;
    bool add;          ///< the chain starts from what is there, else from 0
    long after_b = 0;  ///< floats behind b that are brought near meanwhile, for the product to come
};

struct ProductKernels {
    int panel_columns;
    int tile_rows;  ///< of c, whose sums are in registers at once
    void (*multiply)(const PanelProduct& product);
    /// out[d][r] = in[r][d] of `rows` <= panel_columns rows and `depth` columns, zeros up to panel_columns
    void (*pack_transposed)(const float* in, long stride, int rows, int depth, float* out);
    /// out[d][c] = in[d][c] of `depth` rows and `columns` <= panel_columns, zeros up to panel_columns
    void (*pack)(const float* in, long stride, int depth, int columns, float* out);
    /// The left factor inᵀ of `in` [depth, rows], for a product of as many rows: tiles of [depth, left_columns].
    void (*pack_left)(const float* in, long stride, int depth, int rows, float* out);
    int left_columns;
};

struct VectorKernels {
    RowKernels rows;
    ActivationKernels activation;
    PartedActivationKernels parted_activation;
    ConversionKernels conversion;
    NormKernels norm;
    SoftmaxKernels softmax;
    RotationKernels rotation;
    UpdateKernels update;
    ProductKernels product;
};

extern const VectorKernels avx2_kernels;
extern const VectorKernels avx512_kernels;

}  // namespace expar
