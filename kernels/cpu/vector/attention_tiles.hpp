#pragma once

#include <immintrin.h>

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
    float* c;
    long stride;                     ///< of b and c
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
/// lanes: the stride of b and c where it is known, or 0.
template <class Vector, int rows, int vectors, int lanes, template <int> class Left>
void multiply_attention_tile(const TileProduct& p, int row) {
    const long stride = lanes > 0 ? lanes : p.stride;
    float* c = p.c + row * stride;
    Vector sums[rows][vectors];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v)
            sums[r][v] = p.add ? Vector::load(c + r * stride + v * Vector::width) : Vector::all(0);
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
        b += stride;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v].store(c + r * stride + v * Vector::width);
}

template <class Vector, int rows, int vectors, int lanes, template <int> class Left>
[[gnu::always_inline]] inline void choose_attention_tile(int wanted, const TileProduct& p, int row) {
    if (wanted == rows) return multiply_attention_tile<Vector, rows, vectors, lanes, Left>(p, row);
    if constexpr (rows > 1) choose_attention_tile<Vector, rows - 1, vectors, lanes, Left>(wanted, p, row);
}

// Tiles of about equal height: a low one would wait for its own sums. One vector wide, they are as high as a vector.
template <class Vector, int vectors, int lanes, template <int> class Left>
void multiply_tiles(const TileProduct& p) {
    constexpr int most = vectors == 1 ? Vector::width : Vector::tile_rows;
    const int tiles = (p.rows + most - 1) / most;
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = int(long(p.rows) * tile / tiles);
        const int rows = int(long(p.rows) * (tile + 1) / tiles) - first;
        choose_attention_tile<Vector, most, vectors, lanes, Left>(rows, p, first);
    }
}

/// out[c][r] = in[r][c] of eight rows and four columns.
[[gnu::always_inline]] inline void transpose_eight_by_four(const float* in, long in_stride, float* out,
                                                           long out_stride) {
    const auto rows = [=](int r) {  // r and r + 4
        return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + r * in_stride)),
                                    _mm_loadu_ps(in + (r + 4) * in_stride), 1);
    };
    const __m256 a = rows(0), b = rows(1), c = rows(2), d = rows(3);
    const __m256 ab_low = _mm256_unpacklo_ps(a, b), ab_high = _mm256_unpackhi_ps(a, b);
    const __m256 cd_low = _mm256_unpacklo_ps(c, d), cd_high = _mm256_unpackhi_ps(c, d);
    _mm256_storeu_ps(out, _mm256_shuffle_ps(ab_low, cd_low, 0x44));
    _mm256_storeu_ps(out + out_stride, _mm256_shuffle_ps(ab_low, cd_low, 0xee));
    _mm256_storeu_ps(out + 2 * out_stride, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
    _mm256_storeu_ps(out + 3 * out_stride, _mm256_shuffle_ps(ab_high, cd_high, 0xee));
}

/// out[c][r] = in[r][c], zeros up to `padded_rows`
template <class Vector>
void transpose_rows(const RowBlock& in, float* out, long out_stride, int padded_rows) {
    const int whole_rows = in.rows / 8 * 8, whole_columns = in.columns / 4 * 4;
    for (int c = 0; c < whole_columns; c += 4)
        for (int r = 0; r < whole_rows; r += 8)
            transpose_eight_by_four(in.data + r * in.stride + c, in.stride, out + c * out_stride + r, out_stride);
    for (int c = 0; c < in.columns; ++c) {
        float* column = out + c * out_stride;
        for (int r = c < whole_columns ? whole_rows : 0; r < in.rows; ++r) column[r] = in.data[r * in.stride + c];
        for (int r = in.rows; r < padded_rows; ++r) column[r] = 0;
    }
}

/// out[r] = a's row r times b's
template <class Vector>
void inner_products_of_rows(const RowBlock& a, const float* b, float* out) {
    for (int r = 0; r < a.rows; ++r) {
        const float *x = a.data + r * a.stride, *y = b + r * a.stride;
        out[r] = sum_of_terms<Vector>(a.columns, [=](long i, auto lanes, Vector chain) {
            return fma(Vector::load(x + i, lanes), Vector::load(y + i, lanes), chain);
        });
    }
}

template <class Vector, class Element>
void read_rows(const Element* in, long in_stride, const RowBlock& out) {
    for (int r = 0; r < out.rows; ++r) {
        const Element* from = in + r * in_stride;
        float* to = out.data + r * out.stride;
        for_each_vector<Vector>(out.columns,
                                [=](long i, auto lanes) { Vector::load(from + i, lanes).store(to + i, lanes); });
        for (long c = out.columns; c < out.stride; ++c) to[c] = 0;
    }
}

template <class Vector, class Element>
void write_rows(const float* factors, const RowBlock& in, Element* out, long out_stride) {
    for (int r = 0; r < in.rows; ++r) {
        const Vector factor = Vector::all(factors[r]);
        const float* from = in.data + r * in.stride;
        Element* to = out + r * out_stride;
        for_each_vector<Vector>(
            in.columns, [=](long i, auto lanes) { (factor * Vector::load(from + i, lanes)).store(to + i, lanes); });
    }
}

}  // namespace expar
