#pragma once

#include <xmmintrin.h>

#include <algorithm>

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
constexpr int panel_columns = (Vector::width * Vector::tile_vectors);

constexpr int depth_step = 4;  // columns of a between two tests for the end

/// a as [rows, depth], read through a pointer to every third row: base + {0, 1, 2} strides are addresses of one
/// instruction, where a register per row would leave none.
template <int rows>
class PlainFactors {
public:
    [[gnu::always_inline]] PlainFactors(const float* a, long stride) : stride_(stride) {
#pragma GCC unroll 8
        for (int i = 0; i < pointers; ++i) base_[i] = a + 3 * i * stride;
    }
    [[gnu::always_inline]] float at(int row, int depth) const {
        return base_[row / 3][row % 3 * stride_ + depth];
    }
    [[gnu::always_inline]] void advance(int depth) {
#pragma GCC unroll 8
        for (const float*& pointer : base_) pointer += depth;
    }

private:
    static constexpr int pointers = (rows + 2) / 3;
    const float* base_[pointers];
    long stride_;
};

/// a as [depth, rows], read through a pointer for each of the columns of one step.
template <int rows>
class TransposedFactors {
public:
    [[gnu::always_inline]] TransposedFactors(const float* a, long stride) : stride_(stride) {
#pragma GCC unroll 8
        for (int depth = 0; depth < depth_step; ++depth) base_[depth] = a + depth * stride;
    }
    [[gnu::always_inline]] float at(int row, int depth) const {
        return base_[depth][row];
    }
    [[gnu::always_inline]] void advance(int depth) {
#pragma GCC unroll 8
        for (const float*& pointer : base_) pointer += depth * stride_;
    }

private:
    const float* base_[depth_step];
    long stride_;
};

/// sums += a's column `depth` times b's row `depth`.
template <class Vector, int rows, class Factors>
[[gnu::always_inline]] inline void add_outer_product(Vector (&sums)[rows][Vector::tile_vectors], const Factors& a,
                                                     const float* b, int depth) {
    constexpr int vectors = Vector::tile_vectors;
    Vector column[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) column[v] = Vector::load(b + depth * panel_columns<Vector> + v * Vector::width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
        const Vector factor = Vector::all(a.at(r, depth));
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) sums[r][v] = fma(factor, column[v], sums[r][v]);
    }
}

/// Calls use(element of sums, its place in c, lanes) for those within the panel's columns.
template <class Vector, int rows, class Use>
[[gnu::always_inline]] inline void for_each_sum(Vector (&sums)[rows][Vector::tile_vectors], const PanelProduct& p,
                                                float* c, Use use) {
    constexpr int vectors = Vector::tile_vectors;
    if (p.columns == panel_columns<Vector>) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; ++v) use(sums[r][v], c + r * p.c_stride + v * Vector::width, AllLanes{});
        return;
    }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
        const int columns = p.columns - v * Vector::width;
        const FirstLanes lanes{columns < Vector::width ? columns : Vector::width};
        if (columns > 0)
#pragma GCC unroll 16
            for (int r = 0; r < rows; ++r) use(sums[r][v], c + r * p.c_stride + v * Vector::width, lanes);
    }
}

/// What a tile brings near while it is made, a few lines of the cache at every step of the depth: asked for all at
/// once, they would wait for each other, and the tile for them.
struct Ahead {
    const float* from;
    int lines;  ///< at a step

    const float* c = nullptr;  ///< rows that the next tile writes, one at a step
    long c_stride = 0;
    int c_rows = 0, c_columns = 0;

    [[gnu::always_inline]] void step() {
        constexpr int line = 16;
        for (int i = 0; i < lines; ++i, from += line) __builtin_prefetch(from, 0, 2);
        if (c_rows <= 0) return;
        __builtin_prefetch(c, 1);
        __builtin_prefetch(c + c_columns - 1, 1);
        c += c_stride;
        --c_rows;
    }
};

/// A tile's part of a.
struct TileFactors {
    const float* a;
    long stride;
};

/// `rows` rows of c, whose sums stay in registers over the whole depth.
template <class Vector, int rows, template <int> class Factors>
void multiply_tile(const PanelProduct& p, TileFactors a, float* c, Ahead ahead) {
    Vector sums[rows][Vector::tile_vectors];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < Vector::tile_vectors; ++v) sums[r][v] = Vector::all(0);
    if (p.add)
        for_each_sum<Vector, rows>(sums, p, c,
                                   [](Vector& sum, const float* at, auto lanes) { sum = Vector::load(at, lanes); });
    Factors<rows> factors(a.a, a.stride);
    const float* b = p.b;
    int left = p.depth;
    for (; left >= depth_step; left -= depth_step) {
#pragma GCC unroll 4
        for (int depth = 0; depth < depth_step; ++depth) add_outer_product<Vector, rows>(sums, factors, b, depth);
        factors.advance(depth_step);
        b += depth_step * panel_columns<Vector>;
        ahead.step();
    }
    for (; left > 0; --left) {
        add_outer_product<Vector, rows>(sums, factors, b, 0);
        factors.advance(1);
        b += panel_columns<Vector>;
    }
    if (p.past_caches && p.columns == panel_columns<Vector>)
        for_each_sum<Vector, rows>(sums, p, c, [](const Vector& sum, float* at, auto) { sum.store_past_caches(at); });
    else
        for_each_sum<Vector, rows>(sums, p, c, [](const Vector& sum, float* at, auto lanes) { sum.store(at, lanes); });
}

template <class Vector, int rows, template <int> class Factors>
[[gnu::always_inline]] inline void choose_tile(int wanted, const PanelProduct& p, TileFactors a, float* c,
                                               Ahead ahead) {
    if (wanted == rows) return multiply_tile<Vector, rows, Factors>(p, a, c, ahead);
    if constexpr (rows > 1) choose_tile<Vector, rows - 1, Factors>(wanted, p, a, c, ahead);
}

/// Tiles of about equal height: a low one would wait for its own sums.
template <class Vector>
struct TilesOf {
    int rows;
    int count = (rows + Vector::tile_rows - 1) / Vector::tile_rows;

    [[gnu::always_inline]] int first(int tile) const { return int(long(rows) * tile / count); }
};

/// Floats from one packed tile of the left factor to the next: apart from a power of two, or tiles written side by side
/// would drive each other out of the cache.
template <class Vector>
[[gnu::always_inline]] inline long left_tile_floats(int depth) {
    return (depth + 1L) * Vector::width;
}

template <class Vector>
void multiply_panel(const PanelProduct& p) {
    constexpr int lines_of_step = depth_step * panel_columns<Vector> / 16;
    const TilesOf<Vector> all{p.rows};
    const int tiles = all.count;
    const int lines = tiles ? (lines_of_step + tiles - 1) / tiles : 0;  // of a tile at a step
    const long share = long(p.depth / depth_step) * lines * 16;
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = all.first(tile), end = all.first(tile + 1);
        float* c = p.c + first * p.c_stride;
        const Ahead ahead{p.b + long(p.depth) * panel_columns<Vector> + tile * share,
                          tile * share < p.after_b ? lines : 0,
                          p.c + end * p.c_stride,
                          p.c_stride,
                          std::min(p.rows - end, Vector::tile_rows),
                          p.columns};
        if (p.a_tiled)
            choose_tile<Vector, Vector::tile_rows, TransposedFactors>(
                end - first, p, {p.a + tile * left_tile_floats<Vector>(p.depth), Vector::width}, c, ahead);
        else
            choose_tile<Vector, Vector::tile_rows, PlainFactors>(end - first, p, {p.a + first * p.a_stride, p.a_stride},
                                                                 c, ahead);
    }
}

template <class Vector>
void add_outer_products(const OuterProducts& p) {
    constexpr int line = 16;
    const TilesOf<Vector> all{p.rows};
    for (int tile = 0; tile < all.count; ++tile) {
        const int first = all.first(tile), rows = all.first(tile + 1) - first;
        PanelProduct panel{.rows = rows,
                           .columns = panel_columns<Vector>,
                           .depth = p.depth,
                           .a = nullptr,
                           .a_stride = 0,
                           .b = p.b,
                           .c = nullptr,
                           .c_stride = p.c_stride,
                           .add = p.add,
                           .past_caches = p.past_caches};
        const TileFactors a{p.a + tile * left_tile_floats<Vector>(p.depth), Vector::width};
        float* c = p.c + first * p.c_stride;
        for (int left = p.columns; left > 0; left -= panel_columns<Vector>) {
            if (left < panel_columns<Vector>) panel.columns = left;
            if (!p.past_caches && left > panel_columns<Vector>)  // the next panel of c
                for (int r = 0; r < rows; ++r)
                    for (int i = 0; i < panel_columns<Vector>; i += line)
                        __builtin_prefetch(c + r * p.c_stride + panel_columns<Vector> + i, 1);
            choose_tile<Vector, Vector::tile_rows, TransposedFactors>(rows, panel, a, c, {panel.b, 0});
            panel.b += p.b_stride;
            c += panel_columns<Vector>;
        }
    }
}

/// out[c][r] = in[r][c] of four rows and columns.
template <class Vector>
[[gnu::always_inline]] inline void transpose_four(const float* in, long in_stride, float* out, long out_stride) {
    const __m128 a = _mm_loadu_ps(in), b = _mm_loadu_ps(in + in_stride);
    const __m128 c = _mm_loadu_ps(in + 2 * in_stride), d = _mm_loadu_ps(in + 3 * in_stride);
    const __m128 ab_low = _mm_unpacklo_ps(a, b), ab_high = _mm_unpackhi_ps(a, b);
    const __m128 cd_low = _mm_unpacklo_ps(c, d), cd_high = _mm_unpackhi_ps(c, d);
    _mm_storeu_ps(out, _mm_movelh_ps(ab_low, cd_low));
    _mm_storeu_ps(out + out_stride, _mm_movehl_ps(cd_low, ab_low));
    _mm_storeu_ps(out + 2 * out_stride, _mm_movelh_ps(ab_high, cd_high));
    _mm_storeu_ps(out + 3 * out_stride, _mm_movehl_ps(cd_high, ab_high));
}

// In strips of a cache line of every row, so that each is read once.
template <class Vector>
void pack_transposed_panel(const float* in, long stride, int rows, int depth, float* out) {
    constexpr int columns = panel_columns<Vector>, strip = 16, four = 4;
    const int whole_depth = depth / four * four, whole_rows = rows / four * four;
    for (int first = 0; first < whole_depth; first += strip)
        for (int r = 0; r < whole_rows; r += four)
            for (int d = first; d < first + strip && d < whole_depth; d += four)
                transpose_four<Vector>(in + r * stride + d, stride, out + long(d) * columns + r, columns);
    for (int d = 0; d < depth; ++d) {
        float* row = out + long(d) * columns;
        for (int r = d < whole_depth ? whole_rows : 0; r < rows; ++r) row[r] = in[r * stride + d];
        for (int r = rows; r < columns; ++r) row[r] = 0;
    }
}

template <class Vector>
void pack_panel(const float* in, long stride, int depth, int columns, float* out) {
    for (int d = 0; d < depth; ++d) {
        float* row = out + long(d) * panel_columns<Vector>;
        for (int c = 0; c < panel_columns<Vector>; c += 16) __builtin_prefetch(in + (d + 8) * stride + c);
        if (columns < panel_columns<Vector>)
            for (int v = 0; v < Vector::tile_vectors; ++v) Vector::all(0).store(row + v * Vector::width);
        for_each_vector<Vector>(
            columns, [=](long i, auto lanes) { Vector::load(in + d * stride + i, lanes).store(row + i, lanes); });
    }
}

template <class Vector>
void pack_left_tiles(const float* in, long stride, int depth, int rows, float* out) {
    const TilesOf<Vector> tiles{rows};
    for (int d = 0; d < depth; ++d)
        for (int tile = 0; tile < tiles.count; ++tile) {
            const int first = tiles.first(tile);
            const FirstLanes lanes{tiles.first(tile + 1) - first};
            __builtin_prefetch(in + (d + 6) * stride + first);
            Vector::load(in + d * stride + first, lanes)
                .store(out + tile * left_tile_floats<Vector>(depth) + long(d) * Vector::width);
        }
}

template <class Vector>
constexpr ProductKernels product_kernels = {
    panel_columns<Vector>,         Vector::tile_rows,  multiply_panel<Vector>,  add_outer_products<Vector>,
    pack_transposed_panel<Vector>, pack_panel<Vector>, pack_left_tiles<Vector>, Vector::width};

}  // namespace expar
