#include "packing.hpp"

#include <immintrin.h>

namespace expar {
namespace {

constexpr int lanes = 32;         // bfloat16s of a vector
constexpr int pairs = lanes / 2;  // or pairs of them
constexpr int block = lanes;      // rows and columns that are turned at once
static_assert(pair_panel_columns == block && pair_depth_multiple == block);

int smaller(int a, int b) {
    return a < b ? a : b;
}
int whole(int depth) {
    return (depth + block - 1) / block * block;
}

// The first `count` lanes; none when it is 0 or below.
__mmask16 first_of_16(int count) {
    return count >= 16 ? __mmask16(0xffff) : count <= 0 ? __mmask16(0) : __mmask16((1U << count) - 1U);
}
__mmask32 first_of_32(int count) {
    return count >= 32 ? __mmask32(0xffffffff) : count <= 0 ? __mmask32(0) : __mmask32((1U << count) - 1U);
}

// `count` elements as bfloat16, zeros behind them.
__m512i load(const bfloat16* in, int count) {
    return _mm512_maskz_loadu_epi16(first_of_32(count), in);
}
__m512i load(const float* in, int count) {
    const __m512 low = _mm512_maskz_loadu_ps(first_of_16(count), in);
    const __m512 high = count > 16 ? _mm512_maskz_loadu_ps(first_of_16(count - 16), in + 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

__m512 widened(const bfloat16* in, __mmask16 some) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(some, in)), 16));
}

// A part of the source: 32 rows and columns from (row, column), of which some may lie behind its end.
template <class T>
struct Part {
    const T* data;
    long stride;
    int rows, columns;

    Part(const PairSource<T>& in, int row, int column)
        : data(in.rows + row * in.stride + column),
          stride(in.stride),
          rows(in.count - row),
          columns(in.columns - column) {}

    [[nodiscard]] __m512i row(int r) const {
        return r < rows ? load(data + r * stride, columns) : _mm512_setzero_si512();
    }
};

struct RowsOfPairs {
    __m512i low, high;  // columns 0 … 15 and 16 … 31 of two rows, the elements of a column side by side
};

RowsOfPairs interleave(__m512i even, __m512i odd) {
    const __m512i first = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(16));
    return {_mm512_permutex2var_epi16(even, first, odd), _mm512_permutex2var_epi16(even, second, odd)};
}

// rows[i][j] becomes rows[j][i], for pairs.
void transpose(__m512i (&rows)[pairs]) {
    __m512i four[pairs];
#pragma GCC unroll 4
    for (int i = 0; i < pairs; i += 4) {
        const __m512i a = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        const __m512i b = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        const __m512i c = _mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]);
        const __m512i d = _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]);
        four[i] = _mm512_unpacklo_epi64(a, c);
        four[i + 1] = _mm512_unpackhi_epi64(a, c);
        four[i + 2] = _mm512_unpacklo_epi64(b, d);
        four[i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    // Part l of four[4 g + j] is column 4 l + j of rows 4 g … 4 g + 3.
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
        const __m512i even_low = _mm512_shuffle_i32x4(four[j], four[4 + j], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(four[j], four[4 + j], 0xdd);
        const __m512i even_high = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(four[8 + j], four[12 + j], 0xdd);
        rows[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        rows[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        rows[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        rows[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
}

// Along the rows of `in`, so that they are read in their order.
template <class T>
void pack_right(const PairSource<T>& in, bfloat16* out) {
    const long panel = long(whole(in.count)) * block;
    for (int depth = 0; depth < whole(in.count); depth += block)
        for (int column = 0; column < in.columns; column += block) {
            const Part<T> part(in, depth, column);
            bfloat16* to = out + column / block * panel + long(depth) * block;
            for (int d = 0; d < block; d += 2) {
                const RowsOfPairs row = interleave(part.row(d), part.row(d + 1));
                _mm512_storeu_si512(to + d * block, row.low);
                _mm512_storeu_si512(to + d * block + lanes, row.high);
            }
        }
}

template <class T>
void pack_right_transposed(const PairSource<T>& in, bfloat16* out) {
    for (int column = 0; column < in.count; column += block)
        for (int depth = 0; depth < in.columns; depth += block, out += block * block) {
            const Part<T> part(in, column, depth);
            for (int half = 0; half < 2; ++half) {
                __m512i rows[pairs];
#pragma GCC unroll 16
                for (int r = 0; r < pairs; ++r) rows[r] = part.row(half * pairs + r);
                transpose(rows);
#pragma GCC unroll 16
                for (int d = 0; d < pairs; ++d) _mm512_storeu_si512(out + (2 * d + half) * lanes, rows[d]);
            }
        }
}

template <class T>
void copy_left(const PairSource<T>& in, bfloat16* out, long out_stride) {
    for (int r = 0; r < in.count; ++r)
        for (int column = 0; column < in.columns; column += lanes)
            _mm512_storeu_si512(out + r * out_stride + column,
                                load(in.rows + r * in.stride + column, in.columns - column));
}

template <class T>
void copy_left_transposed(const PairSource<T>& in, bfloat16* out, long out_stride) {
    for (int depth = 0; depth < in.count; depth += block)
        for (int column = 0; column < in.columns; column += block) {
            const Part<T> part(in, depth, column);
            __m512i low[pairs], high[pairs];
#pragma GCC unroll 16
            for (int i = 0; i < pairs; ++i) {
                const RowsOfPairs row = interleave(part.row(2 * i), part.row(2 * i + 1));
                low[i] = row.low;
                high[i] = row.high;
            }
            transpose(low);
            transpose(high);
            bfloat16* to = out + column * out_stride + depth;
            const int columns = smaller(block, in.columns - column);
#pragma GCC unroll 16
            for (int c = 0; c < pairs; ++c) {
                if (c < columns) _mm512_storeu_si512(to + c * out_stride, low[c]);
                if (pairs + c < columns) _mm512_storeu_si512(to + (pairs + c) * out_stride, high[c]);
            }
        }
}

template <class T>
constexpr PairPacking<T> packing = {pack_right<T>, pack_right_transposed<T>, copy_left<T>, copy_left_transposed<T>};

}  // namespace

const PairPacking<float> pair_packing_of_float32 = packing<float>;
const PairPacking<bfloat16> pair_packing_of_bfloat16 = packing<bfloat16>;

void round_to_bfloat16(const float* in, bfloat16* out, long count) {
    long i = 0;
    for (; i + lanes <= count; i += lanes) _mm512_storeu_si512(out + i, load(in + i, lanes));
    if (i < count) _mm512_mask_storeu_epi16(out + i, first_of_32(int(count - i)), load(in + i, int(count - i)));
}

void widen_bfloat16(const bfloat16* in, float* out, long count) {
    for (long i = 0; i < count; i += 16) {
        const __mmask16 mask = first_of_16(count - i < 16 ? int(count - i) : 16);
        _mm512_mask_storeu_ps(out + i, mask, widened(in + i, mask));
    }
}

void add_round_to_bfloat16(const float* in, bfloat16* out, long count) {
    for (long i = 0; i < count; i += 16) {
        const __mmask16 mask = first_of_16(count - i < 16 ? int(count - i) : 16);
        const __m512 sum = _mm512_add_ps(widened(out + i, mask), _mm512_maskz_loadu_ps(mask, in + i));
        _mm256_mask_storeu_epi16(out + i, mask, (__m256i)_mm512_cvtneps_pbh(sum));
    }
}

}  // namespace expar
