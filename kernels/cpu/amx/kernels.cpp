#include <immintrin.h>

#include "../avx512_bf16/packing.hpp"

namespace expar {
namespace {

// Eight registers are tiles of up to 16 rows of 64 bytes. Four hold the sums of 32 rows and columns of c, two a part of
// a and two of b:     b: 6 7
//               a: 4  c: 0 1
//                  5     2 3
constexpr int tile_rows = 16;
constexpr int block_rows = 2 * tile_rows;
constexpr int tile_columns = 16;                 // of c
constexpr int tile_depth = pair_depth_multiple;  // columns of a
static_assert(pair_panel_columns == 2 * tile_columns);

// The depth of a panel's part that stays in the nearest cache while rows of a pass by it.
constexpr int near_depth = 512;

// What the compiler does not know of tile instructions: they read memory.
void memory_is_read() {
    asm volatile("" ::: "memory");
}

// The shapes of all tiles, for `rows` <= block_rows rows of a and c.
void configure(int rows) {
    struct alignas(64) {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {};
    const int upper = rows < tile_rows ? rows : tile_rows;
    const int lower = rows > tile_rows ? rows - tile_rows : tile_rows;
    shapes.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
        const bool of_upper = tile <= 1 || tile == 4, of_b = tile >= 6;
        shapes.row_bytes[tile] = 64;
        shapes.rows[tile] = uint8_t(of_b ? tile_rows : of_upper ? upper : lower);
    }
    memory_is_read();
    _tile_loadconfig(&shapes);
}

void begin() {
    configure(block_rows);
}
void end() {
    _tile_release();
}

// A panel's part of a product for the rows of one block. Whole: both rows of tiles, else the upper one alone.
struct Block {
    const bfloat16* a;
    long a_stride;
    const bfloat16* b;
    float* c;
    long c_stride;
    int depth;
    bool add;
    bool alone;  ///< the only one of its call
};

// Several blocks of rows are read past the nearest cache, as far as the processor allows, so that the panel of b stays
// in it. One alone stays itself.
template <bool whole, bool alone>
[[gnu::always_inline]] inline void multiply_block(const Block& p) {
    const long a_bytes = p.a_stride * long(sizeof *p.a), c_bytes = p.c_stride * long(sizeof *p.c);
    constexpr long b_bytes = 2 * pair_panel_columns * long(sizeof *p.b);
    const bfloat16 *a = p.a, *lower_a = a + tile_rows * p.a_stride, *b = p.b;
    float *c = p.c, *lower_c = c + tile_rows * p.c_stride;
    if (p.add) {
        _tile_loadd(0, c, c_bytes);
        _tile_loadd(1, c + tile_columns, c_bytes);
        if (whole) {
            _tile_loadd(2, lower_c, c_bytes);
            _tile_loadd(3, lower_c + tile_columns, c_bytes);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int depth = 0; depth < p.depth; depth += tile_depth) {
        if (alone)
            _tile_loadd(4, a + depth, a_bytes);
        else
            _tile_stream_loadd(4, a + depth, a_bytes);
        _tile_loadd(6, b, b_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + 2 * tile_columns, b_bytes);
        _tile_dpbf16ps(1, 4, 7);
        if (whole) {
            if (alone)
                _tile_loadd(5, lower_a + depth, a_bytes);
            else
                _tile_stream_loadd(5, lower_a + depth, a_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        b += tile_depth * pair_panel_columns;
    }
    _tile_stored(0, c, c_bytes);
    _tile_stored(1, c + tile_columns, c_bytes);
    if (whole) {
        _tile_stored(2, lower_c, c_bytes);
        _tile_stored(3, lower_c + tile_columns, c_bytes);
    }
}

void multiply_rows(const Block& p, int rows) {
    if (p.alone)
        rows > tile_rows ? multiply_block<true, true>(p) : multiply_block<false, true>(p);
    else
        rows > tile_rows ? multiply_block<true, false>(p) : multiply_block<false, false>(p);
}

// A block at the right edge: its sums pass through memory of whole tiles.
void multiply_edge(const Block& p, int rows, int columns) {
    alignas(64) float sums[block_rows * pair_panel_columns];
    const __mmask16 low = __mmask16(columns >= tile_columns ? 0xffff : (1U << columns) - 1U);
    const __mmask16 high = __mmask16(columns >= tile_columns ? (1U << (columns - tile_columns)) - 1U : 0);
    if (p.add)
        for (int r = 0; r < rows; ++r) {
            const float* c = p.c + r * p.c_stride;
            _mm512_store_ps(sums + r * pair_panel_columns, _mm512_maskz_loadu_ps(low, c));
            _mm512_store_ps(sums + r * pair_panel_columns + tile_columns,
                            _mm512_maskz_loadu_ps(high, c + tile_columns));
        }
    memory_is_read();
    Block whole = p;
    whole.c = sums;
    whole.c_stride = pair_panel_columns;
    multiply_rows(whole, rows);
    for (int r = 0; r < rows; ++r) {
        float* c = p.c + r * p.c_stride;
        _mm512_mask_storeu_ps(c, low, _mm512_load_ps(sums + r * pair_panel_columns));
        _mm512_mask_storeu_ps(c + tile_columns, high, _mm512_load_ps(sums + r * pair_panel_columns + tile_columns));
    }
}

Block block_of(const PairProduct& p, int row, int column) {
    return {.a = p.a + row * p.a_stride,
            .a_stride = p.a_stride,
            .b = p.b + long(column) * p.depth,
            .c = p.c + row * p.c_stride + column,
            .c_stride = p.c_stride,
            .depth = p.depth,
            .add = p.add,
            .alone = p.rows <= block_rows};
}

void write_past_caches(const float* sums, int rows, float* c, long c_stride) {
    for (int r = 0; r < rows; ++r)
        for (int column = 0; column < pair_panel_columns; column += tile_columns)
            _mm512_stream_ps(c + r * c_stride + column, _mm512_load_ps(sums + r * pair_panel_columns + column));
}

// Tiles are stored to the caches alone: sums go on from there while those of the next block are made.
void multiply_past_caches(const PairProduct& p, int row, int rows) {
    alignas(64) float sums[2][block_rows * pair_panel_columns];
    int column = 0;
    for (int turn = 0; column + pair_panel_columns <= p.columns; column += pair_panel_columns, turn ^= 1) {
        Block block = block_of(p, row, column);
        float* const c = block.c;
        block.c = sums[turn];
        block.c_stride = pair_panel_columns;
        multiply_rows(block, rows);
        if (column > 0) write_past_caches(sums[turn ^ 1], rows, c - pair_panel_columns, p.c_stride);
        if (column + 2 * pair_panel_columns > p.columns) write_past_caches(sums[turn], rows, c, p.c_stride);
    }
    if (column < p.columns) multiply_edge(block_of(p, row, column), rows, p.columns - column);
}

// Rows first … last of p, all blocks of which have the configured number of rows.
void multiply_blocks(const PairProduct& p, int first, int last) {
    const auto rows_at = [&](int row) { return last - row < block_rows ? last - row : block_rows; };
    if (p.past_caches) {
        for (int row = first; row < last; row += block_rows) multiply_past_caches(p, row, rows_at(row));
        return;
    }
    const int near = last - first > block_rows ? near_depth : p.depth;
    for (int column = 0; column < p.columns; column += pair_panel_columns)
        for (int depth = 0; depth < p.depth; depth += near)
            for (int row = first; row < last; row += block_rows) {
                Block block = block_of(p, row, column);
                block.a += depth;
                block.b += long(depth) * pair_panel_columns;
                block.depth = p.depth - depth < near ? p.depth - depth : near;
                block.add = p.add || depth > 0;
                if (p.columns - column >= pair_panel_columns)
                    multiply_rows(block, rows_at(row));
                else
                    multiply_edge(block, rows_at(row), p.columns - column);
            }
}

void multiply(const PairProduct& p) {
    const int whole = p.rows / block_rows * block_rows;
    multiply_blocks(p, 0, whole);
    if (whole == p.rows) return;
    configure(p.rows - whole);
    multiply_blocks(p, whole, p.rows);
    begin();
}

}  // namespace

constinit const PairKernels amx_pair_kernels = {4 * block_rows,
                                                block_rows,
                                                begin,
                                                end,
                                                multiply,
                                                pair_packing_of_float32,
                                                pair_packing_of_bfloat16,
                                                {widen_bfloat16, round_to_bfloat16, add_round_to_bfloat16}};

}  // namespace expar
