#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
constexpr int panel_columns = Vector::width* Vector::tile_vectors;

/// Rows r of a, read through a pointer to every third row: base + {0, 1, 2} strides are addresses of one instruction,
/// where a register per row would leave none.
template <int rows>
struct RowPointers {
    const float* base[(rows + 2) / 3];
    long stride;

    [[gnu::always_inline]] RowPointers(const float* a, long row_stride) : stride(row_stride) {
#pragma GCC unroll 8
        for (int i = 0; i < (rows + 2) / 3; ++i) base[i] = a + 3 * i * row_stride;
    }
    [[gnu::always_inline]] float operator[](int r) const {
        return base[r / 3][r % 3 * stride];
    }
    [[gnu::always_inline]] void advance(long depth_stride) {
#pragma GCC unroll 8
        for (const float*& pointer : base) pointer += depth_stride;
    }
};

[[gnu::always_inline]] inline int min_of(int a, int b) {
    return a < b ? a : b;
}

template <class Vector, class Lanes>
[[gnu::always_inline]] inline void write_sums(Vector sums, bool add, float* to, Lanes lanes) {
    (add ? Vector::load(to, lanes) + sums : sums).store(to, lanes);
}

/// `rows` rows of c, whose sums stay in registers over the whole depth.
template <class Vector, int rows>
void multiply_tile(const PanelProduct& p, const float* a, float* c) {
    constexpr int vectors = Vector::tile_vectors;
    Vector sums[rows][vectors];
    for (auto& row : sums)
        for (Vector& sum : row) sum = Vector::all(0);
    RowPointers<rows> factors(a, p.a_row_stride);
    const float* b = p.b;
    const long depth_stride = p.a_depth_stride, b_stride = p.b_stride;
    for (int d = p.depth; d > 0; --d) {
        Vector column[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) column[v] = Vector::load(b + v * Vector::width);
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r) {
            const Vector factor = Vector::all(factors[r]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) sums[r][v] = fma(factor, column[v], sums[r][v]);
        }
        factors.advance(depth_stride);
        b += b_stride;
    }
    if (p.columns == vectors * Vector::width) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v)
                write_sums(sums[r][v], p.add, c + r * p.c_stride + v * Vector::width, AllLanes{});
        return;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) {
            const int left = min_of(p.columns - v * Vector::width, Vector::width);
            if (left > 0) write_sums(sums[r][v], p.add, c + r * p.c_stride + v * Vector::width, FirstLanes{left});
        }
}

template <class Vector, int rows>
[[gnu::always_inline]] inline void choose_tile(int wanted, const PanelProduct& p, const float* a, float* c) {
    if (wanted == rows) return multiply_tile<Vector, rows>(p, a, c);
    if constexpr (rows > 1) choose_tile<Vector, rows - 1>(wanted, p, a, c);
}

// Tiles of about equal height: a low one would wait for its own sums.
template <class Vector>
void multiply_panel(const PanelProduct& product) {
    const PanelProduct p = product;
    const int tiles = (p.rows + Vector::tile_rows - 1) / Vector::tile_rows;
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = int(long(p.rows) * tile / tiles);
        const int rows = int(long(p.rows) * (tile + 1) / tiles) - first;
        choose_tile<Vector, Vector::tile_rows>(rows, p, p.a + first * p.a_row_stride, p.c + first * p.c_stride);
    }
}

template <class Vector>
void pack_transposed_panel(const float* in, long stride, int rows, int depth, float* out) {
    constexpr int columns = panel_columns<Vector>;
    for (int r = 0; r < rows; ++r)
        for (int d = 0; d < depth; ++d) out[long(d) * columns + r] = in[r * stride + d];
    for (int d = 0; d < depth; ++d)
        for (int r = rows; r < columns; ++r) out[long(d) * columns + r] = 0;
}

template <class Vector>
void pack_panel(const float* in, long stride, int depth, int columns, float* out) {
    const Vector zero = Vector::all(0);
    for (int d = 0; d < depth; ++d) {
        float* row = out + long(d) * panel_columns<Vector>;
        for (int v = 0; v < Vector::tile_vectors; ++v) zero.store(row + v * Vector::width);
        for_each_vector<Vector>(
            columns, [=](long i, auto lanes) { Vector::load(in + d * stride + i, lanes).store(row + i, lanes); });
    }
}

template <class Vector>
constexpr ProductKernels product_kernels = {panel_columns<Vector>, multiply_panel<Vector>,
                                            pack_transposed_panel<Vector>, pack_panel<Vector>};

}  // namespace expar
