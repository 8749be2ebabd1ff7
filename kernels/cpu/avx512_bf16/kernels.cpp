#include <immintrin.h>

#include "packing.hpp"

namespace expar {
namespace {

constexpr int tile_rows = 14;  // 28 sums, 2 vectors of b and one of a in 32 registers
constexpr int vectors = 2;     // of a panel
constexpr int width = 16;      // columns of one
static_assert(vectors * width == pair_panel_columns);

// A panel's part of a product.
struct Panel {
    const bfloat16* a;
    long a_stride;
    const bfloat16* b;
    float* c;
    long c_stride;
    int columns, depth;
    bool add;
    bool past_caches;  ///< of whole columns

    [[nodiscard]] __mmask16 mask(int vector) const {
        const int left = columns - vector * width;
        return left >= width ? __mmask16(0xffff) : left <= 0 ? __mmask16(0) : __mmask16((1U << left) - 1U);
    }
};

// The rows of a tile through a pointer to every third: base + {0, 1, 2} strides are addresses of one instruction, where
// a register for each row would leave none.
template <int rows>
class Factors {
public:
    Factors(const bfloat16* a, long stride) : stride_(stride) {
#pragma GCC unroll 8
        for (int i = 0; i < pointers; ++i) base_[i] = a + 3 * i * stride;
    }
    [[nodiscard, gnu::always_inline]] __m512bh pair(int row, int depth) const {
        int bits;
        __builtin_memcpy(&bits, base_[row / 3] + row % 3 * stride_ + depth, sizeof bits);
        return (__m512bh)_mm512_set1_epi32(bits);
    }
    [[gnu::always_inline]] void advance(int depth) {
#pragma GCC unroll 8
        for (const bfloat16*& pointer : base_) pointer += depth;
    }

private:
    static constexpr int pointers = (rows + 2) / 3;
    const bfloat16* base_[pointers];
    long stride_;
};

template <int rows>
[[gnu::always_inline]] inline void add_pairs(__m512 (&sums)[rows][vectors], const Factors<rows>& a, const bfloat16* b,
                                             int depth) {
    __m512bh column[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v)
        column[v] = (__m512bh)_mm512_loadu_si512(b + depth * pair_panel_columns + v * 2 * width);
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r) {
        const __m512bh factor = a.pair(r, depth);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], factor, column[v]);
    }
}

// `rows` rows of c, whose sums stay in registers over the whole depth.
template <int rows>
void multiply_tile(const Panel& p) {
    __m512 sums[rows][vectors];
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
            sums[r][v] = _mm512_maskz_loadu_ps(p.add ? p.mask(v) : __mmask16(0), p.c + r * p.c_stride + v * width);
    Factors<rows> factors(p.a, p.a_stride);
    const bfloat16* b = p.b;
    constexpr int step = 8;  // columns of a between two tests for the end
    static_assert(pair_depth_multiple % step == 0);
    for (int left = p.depth; left > 0; left -= step) {
#pragma GCC unroll 4
        for (int depth = 0; depth < step; depth += 2) add_pairs<rows>(sums, factors, b, depth);
        factors.advance(step);
        b += step * pair_panel_columns;
    }
    if (p.past_caches) {
#pragma GCC unroll 16
        for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; ++v) _mm512_stream_ps(p.c + r * p.c_stride + v * width, sums[r][v]);
        return;
    }
#pragma GCC unroll 16
    for (int r = 0; r < rows; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v)
            _mm512_mask_storeu_ps(p.c + r * p.c_stride + v * width, p.mask(v), sums[r][v]);
}

template <int rows>
void choose_tile(int wanted, const Panel& p) {
    if (wanted == rows) return multiply_tile<rows>(p);
    if constexpr (rows > 1) choose_tile<rows - 1>(wanted, p);
}

// Tiles of about equal height: a low one would wait for its own sums.
void multiply_panel(Panel p, int rows) {
    const bfloat16* a = p.a;
    float* c = p.c;
    const int tiles = (rows + tile_rows - 1) / tile_rows;
    for (int tile = 0; tile < tiles; ++tile) {
        const int first = int(long(rows) * tile / tiles);
        p.a = a + first * p.a_stride;
        p.c = c + first * p.c_stride;
        choose_tile<tile_rows>(int(long(rows) * (tile + 1) / tiles) - first, p);
    }
}

void multiply(const PairProduct& p) {
    for (int column = 0; column < p.columns; column += pair_panel_columns) {
        const int left = p.columns - column;
        multiply_panel({.a = p.a,
                        .a_stride = p.a_stride,
                        .b = p.b + long(column) * p.depth,
                        .c = p.c + column,
                        .c_stride = p.c_stride,
                        .columns = left < pair_panel_columns ? left : pair_panel_columns,
                        .depth = p.depth,
                        .add = p.add,
                        .past_caches = p.past_caches && left >= pair_panel_columns},
                       p.rows);
    }
}

void nothing() {}

}  // namespace

constinit const PairKernels avx512_bf16_pair_kernels = {6 * tile_rows,
                                                        tile_rows,
                                                        nothing,
                                                        nothing,
                                                        multiply,
                                                        pair_packing_of_float32,
                                                        pair_packing_of_bfloat16,
                                                        {widen_bfloat16, round_to_bfloat16, add_round_to_bfloat16}};

}  // namespace expar
