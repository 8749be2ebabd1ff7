#pragma once

#include <xmmintrin.h>

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
constexpr int attention_lanes = 2 * Vector::width;

alignas(64) inline constexpr float lane_numbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

template <int number>
struct Vectors {
    static constexpr int count = number;
};

/// c = a b, or c + a b, or c factors + a b, of which b and c have as many columns as some vectors.
struct TileProduct {
    int rows, depth;
    const float* a;
    long a_stride;
    const float* b;
    long b_stride;
    float* c;
    long c_stride;
    const float* factors = nullptr;  ///< of columns
    bool add = false;
};

/// a as [rows, depth], read through a pointer to every third row: base + {0, 1, 2} strides are addresses of one
/// instruction.
template <int rows>
class PlainLeft {
public:
    [[gnu::always_inline]] PlainLeft(const float* a, long stride) : stride_(stride) {
#pragma GCC unroll 8
        for (int i = 0; i < pointers; ++i) base_[i] = a + 3 * i * stride;
    }
    static const float* first(const TileProduct& p, int row) {
        return p.a + row * p.a_stride;
    }
    [[gnu::always_inline]] float at(int row) const {
        return base_[row / 3][row % 3 * stride_];
    }
    [[gnu::always_inline]] void advance() {
#pragma GCC unroll 8
        for (const float*& pointer : base_) ++pointer;
    }

private:
    static constexpr int pointers = (rows + 2) / 3;
    const float* base_[pointers];
    long stride_;
};

/// a as [depth, rows].
template <int rows>
class TransposedLeft {
public:
    [[gnu::always_inline]] TransposedLeft(const float* a, long stride) : base_(a), stride_(stride) {}
    static const float* first(const TileProduct& p, int row) { return p.a + row; }
    [[gnu::always_inline]] float at(int row) const { return base_[row]; }
    [[gnu::always_inline]] void advance() { base_ += stride_; }

private:
    const float* base_;
    long stride_;
};

/// Rows `row` … of c, whose sums stay in registers over the whole depth. Every element is one chain of fma, ascending.
template <class Vector, int rows, int vectors, template <int> class Left>
void multiply_attention_tile(const TileProduct& p, int row) {
    Vector sums[rows][vectors];
    float* c = p.c + row * p.c_stride;
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
            sums[r][v] = p.add ? Vector::load(c + r * p.c_stride + v * Vector::width) : Vector::all(0);
    if (p.factors) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
            const Vector factor = Vector::load(p.factors + v * Vector::width);
#pragma GCC unroll 16
            for (int r = 0; r < rows; ++r) sums[r][v] = sums[r][v] * factor;
        }
    }
    Left<rows> left(Left<rows>::first(p, row), p.a_stride);
    const float* b = p.b;
#pragma GCC unroll 4
    for (int depth = 0; depth < p.depth; ++depth) {
        Vector column[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) column[v] = Vector::load(b + v * Vector::width);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
            const Vector factor = Vector::all(left.at(r));
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sums[r][v] = fma(factor, column[v], sums[r][v]);
        }
        left.advance();
        b += p.b_stride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v].store(c + r * p.c_stride + v * Vector::width);
}

template <class Vector, int rows, int vectors, template <int> class Left>
[[gnu::always_inline]] inline void choose_attention_tile(int wanted, const TileProduct& p, int row) {
    if (wanted == rows) return multiply_attention_tile<Vector, rows, vectors, Left>(p, row);
    if constexpr (rows > 1) choose_attention_tile<Vector, rows - 1, vectors, Left>(wanted, p, row);
}

// Tiles of about equal height: a low one would wait for its own sums.
template <class Vector, int vectors, template <int> class Left>
void multiply_tiles(const TileProduct& p) {
    const int tiles = (p.rows + Vector::tile_rows - 1) / Vector::tile_rows;
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = int(long(p.rows) * tile / tiles);
        const int rows = int(long(p.rows) * (tile + 1) / tiles) - first;
        choose_attention_tile<Vector, Vector::tile_rows, vectors, Left>(rows, p, first);
    }
}

/// out[c][r] = in[r][c] of four rows and columns.
[[gnu::always_inline]] inline void transpose_four_by_four(const float* in, long in_stride, float* out,
                                                          long out_stride) {
    __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + in_stride);
    __m128 c = _mm_loadu_ps(in + 2 * in_stride), d = _mm_loadu_ps(in + 3 * in_stride);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a);
    _mm_storeu_ps(out + out_stride, b);
    _mm_storeu_ps(out + 2 * out_stride, c);
    _mm_storeu_ps(out + 3 * out_stride, d);
}

/// out[c][r] = in[r][c]
[[gnu::always_inline]] inline void transpose(const float* in, long in_stride, int rows, int columns, float* out,
                                             long out_stride) {
    const int whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int c = 0; c < whole_columns; c += 4)
        for (int r = 0; r < whole_rows; r += 4)
            transpose_four_by_four(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
    for (int c = 0; c < columns; ++c)
        for (int r = c < whole_columns ? whole_rows : 0; r < rows; ++r) out[c * out_stride + r] = in[r * in_stride + c];
}

/// Rows of queries to lanes: out [depth, lanes], zeros in the lanes beyond `rows`.
template <class Vector>
void pack_queries(const float* in, long stride, int rows, int depth, float* out) {
    constexpr int lanes = attention_lanes<Vector>;
    transpose(in, stride, rows, depth, out, lanes);
    if (rows == lanes) return;
    for (int c = 0; c < depth; ++c)
        for (int r = rows; r < lanes; ++r) out[c * lanes + r] = 0;
}

/// Lanes to rows, each times its factor: in [depth, lanes], which is scaled in place; out [rows, depth].
template <class Vector>
void unpack_queries(const float* factors, float* in, int rows, int depth, float* out, long stride) {
    constexpr int lanes = attention_lanes<Vector>;
    for (int v = 0; v < lanes; v += Vector::width) {
        const Vector factor = Vector::load(factors + v);
        for (int c = 0; c < depth; ++c) (factor * Vector::load(in + c * lanes + v)).store(in + c * lanes + v);
    }
    transpose(in, lanes, depth, rows, out, stride);
}

}  // namespace expar
