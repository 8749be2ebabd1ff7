#pragma once

#include <stdint.h>

#include "vector_kernels.hpp"

namespace expar {

// Products of bfloat16 on instructions that multiply pairs: neighbours along the depth, which the right factor
// therefore holds side by side. A bfloat16 is its 16 bits here. Like those of vector_kernels.hpp, the loops are
// compiled for one instruction set each, in files that include nothing of the standard library.

/// The right factor is packed in panels of so many columns, zeros up to whole ones.
inline constexpr int pair_panel_columns = 32;
/// Depths are multiples of it, by zeros in both factors.
inline constexpr int pair_depth_multiple = 32;

/// c (+)= a b. Every element of c is one chain of float32 sums over the depth, in an order that neither rows nor
/// columns change: its bits depend on its row of a and its column of b alone. Numbers below 2^-126 count as zeros.
struct PairProduct {
    int rows, columns, depth;  ///< depth: a multiple of pair_depth_multiple
    const bfloat16* a;         ///< [rows, depth]
    long a_stride;
    const bfloat16* b;  ///< panels of [depth / 2, pair_panel_columns, 2], one after the other
    float* c;           ///< [rows, columns]
    long c_stride;
    bool add;  ///< the chain starts from what is there, else from 0
    /// Whole panels of c are written past the caches, whose lines c and its rows then start with. The caller makes a
    /// store fence before others read it. Not with add.
    bool past_caches = false;
};

template <class T>
struct PairSource {
    const T* rows;  ///< float32, or the bits of bfloat16
    long stride;
    int count, columns;
};

/// Factors from rows as they are elsewhere. float32 is rounded to the nearest bfloat16, ties to even.
template <class T>
struct PairPacking {
    /// The right factor `in`, whose rows are the depth.
    void (*right)(const PairSource<T>& in, bfloat16* out);
    /// The right factor inᵀ, whose columns are the depth: the weight [N, K] of y = x wᵀ.
    void (*right_transposed)(const PairSource<T>& in, bfloat16* out);
    /// The left factor `in`, zeros up to a whole depth.
    void (*left)(const PairSource<T>& in, bfloat16* out, long out_stride);
    /// The left factor inᵀ, one row for each column, zeros up to a whole depth.
    void (*left_transposed)(const PairSource<T>& in, bfloat16* out, long out_stride);
};

struct PairKernels {
    int rows_at_once;  ///< the fewest that reach the full rate: a panel of b stays near for them
    int tile_rows;     ///< of c, whose sums are in registers at once
    /// What a thread calls around its products; cheap beside one of them.
    void (*begin)();
    void (*end)();
    void (*multiply)(const PairProduct& product);
    const PairPacking<float>& from_float32;
    const PairPacking<bfloat16>& from_bfloat16;
    ConversionKernels conversion;
};

extern const PairKernels avx512_bf16_pair_kernels;
extern const PairKernels amx_pair_kernels;

}  // namespace expar
