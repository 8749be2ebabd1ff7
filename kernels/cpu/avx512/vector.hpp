#pragma once

#include <immintrin.h>

#include "../vector/lanes.hpp"
#include "expar/base/bfloat16.hpp"

namespace expar {

struct Avx512Doubles;

/// 16 floats. Included by avx512/kernels.cpp alone.
struct Avx512Vector {
    using Doubles = Avx512Doubles;
    static constexpr int width = 16;
    static constexpr int tile_rows = 14;  // a product's tile: 28 sums, 2 vectors of b and one of a in 32 registers
    static constexpr int tile_vectors = 2;

    __m512 lanes;

    static __mmask16 mask(AllLanes) { return 0xffff; }
    static __mmask16 mask(FirstLanes first) { return __mmask16((1U << first.count) - 1U); }

    static Avx512Vector all(float value) { return {_mm512_set1_ps(value)}; }
    static Avx512Vector load(const float* from, AllLanes = {}) { return {_mm512_loadu_ps(from)}; }
    static Avx512Vector load(const float* from, FirstLanes first) { return {_mm512_maskz_loadu_ps(mask(first), from)}; }
    void store(float* to, AllLanes = {}) const { _mm512_storeu_ps(to, lanes); }
    void store(float* to, FirstLanes first) const { _mm512_mask_storeu_ps(to, mask(first), lanes); }
    void store_past_caches(float* to) const { _mm512_stream_ps(to, lanes); }
    void store_past_caches(bfloat16* to) const { _mm256_stream_si256(reinterpret_cast<__m256i*>(to), narrowed()); }
    static void copy_line_past_caches(const void* from, void* to) {
        _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
    }

    // bfloat16 is widened on the way in, and rounded as to_bfloat16 does on the way out.
    static Avx512Vector load(const bfloat16* from, AllLanes = {}) {
        return widened(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    }
    static Avx512Vector load(const bfloat16* from, FirstLanes first) {
        return widened(_mm256_maskz_loadu_epi16(mask(first), from));
    }
    void store(bfloat16* to, AllLanes = {}) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), narrowed()); }
    void store(bfloat16* to, FirstLanes first) const { _mm256_mask_storeu_epi16(to, mask(first), narrowed()); }

    // Two vectors as Pair has them.
    static void load_pair(const float* from, Avx512Vector& a, Avx512Vector& b) {
        a = load(from);
        b = load(from + width);
    }
    static void load_pair(const bfloat16* from, Avx512Vector& even, Avx512Vector& odd) {
        const __m512i both = _mm512_loadu_si512(from);
        even = {_mm512_castsi512_ps(_mm512_slli_epi32(both, 16))};
        odd = {_mm512_castsi512_ps(upper_halves(both))};
    }
    static void store_pair(Avx512Vector a, Avx512Vector b, float* to) {
        a.store(to);
        b.store(to + width);
    }
    static void store_pair(Avx512Vector even, Avx512Vector odd, bfloat16* to) {
        _mm512_storeu_si512(to, interleaved(even, odd));
    }
    static void store_pair_past_caches(Avx512Vector a, Avx512Vector b, float* to) {
        a.store_past_caches(to);
        b.store_past_caches(to + width);
    }
    static void store_pair_past_caches(Avx512Vector even, Avx512Vector odd, bfloat16* to) {
        _mm512_stream_si512(reinterpret_cast<__m512i*>(to), interleaved(even, odd));
    }

    /// As it would be read again after a store there.
    [[nodiscard]] Avx512Vector rounded_as(const float*) const { return *this; }
    [[nodiscard]] Avx512Vector rounded_as(const bfloat16*) const {
        return {_mm512_castsi512_ps(upper_halves(nearest()))};
    }

private:
    static Avx512Vector widened(__m256i halves) {
        return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16))};
    }
    static __m512i upper_halves(__m512i bits) { return _mm512_and_si512(bits, _mm512_set1_epi32(int(0xffff0000))); }
    static __m512i interleaved(Avx512Vector even, Avx512Vector odd) {
        return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even.nearest(), 16), odd.nearest());
    }
    // The upper half of each lane is rounded; the lower is anything. Where it is no number it must be a quiet one, as
    // all are that arithmetic makes.
    [[nodiscard]] __m512i nearest() const {
        const __m512i bits = _mm512_castps_si512(lanes);
        const __mmask16 number = _mm512_cmp_ps_mask(lanes, lanes, _CMP_ORD_Q);
        const __mmask16 odd = _mm512_mask_test_epi32_mask(number, bits, _mm512_set1_epi32(0x10000));
        const __m512i half = _mm512_mask_add_epi32(bits, number, bits, _mm512_set1_epi32(0x7fff));
        return _mm512_mask_add_epi32(half, odd, half, _mm512_set1_epi32(1));
    }
    [[nodiscard]] __m256i narrowed() const {
        const __mmask16 no_number = _mm512_cmp_ps_mask(lanes, lanes, _CMP_UNORD_Q);
        const __m512i bits = _mm512_castps_si512(lanes);
        const __m512i quiet = _mm512_mask_or_epi32(bits, no_number, bits, _mm512_set1_epi32(0x400000));
        const __m512i upper = _mm512_srli_epi32(Avx512Vector{_mm512_castsi512_ps(quiet)}.nearest(), 16);
        return _mm512_cvtepi32_epi16(upper);
    }
};

inline Avx512Vector operator+(Avx512Vector a, Avx512Vector b) {
    return {_mm512_add_ps(a.lanes, b.lanes)};
}
inline Avx512Vector operator-(Avx512Vector a, Avx512Vector b) {
    return {_mm512_sub_ps(a.lanes, b.lanes)};
}
inline Avx512Vector operator*(Avx512Vector a, Avx512Vector b) {
    return {_mm512_mul_ps(a.lanes, b.lanes)};
}
inline Avx512Vector operator/(Avx512Vector a, Avx512Vector b) {
    return {_mm512_div_ps(a.lanes, b.lanes)};
}
/// a b + c, rounded once
inline Avx512Vector fma(Avx512Vector a, Avx512Vector b, Avx512Vector c) {
    return {_mm512_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}
// Where b is not a number, the result is b.
inline Avx512Vector min(Avx512Vector a, Avx512Vector b) {
    return {_mm512_min_ps(a.lanes, b.lanes)};
}
inline Avx512Vector max(Avx512Vector a, Avx512Vector b) {
    return {_mm512_max_ps(a.lanes, b.lanes)};
}
inline Avx512Vector sqrt(Avx512Vector a) {
    return {_mm512_sqrt_ps(a.lanes)};
}
inline Avx512Vector round(Avx512Vector a) {
    return {_mm512_roundscale_ps(a.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Avx512Vector abs(Avx512Vector a) {
    return {_mm512_abs_ps(a.lanes)};
}
/// The size of `a` with the sign of `sign`
inline Avx512Vector with_sign(Avx512Vector a, Avx512Vector sign) {
    return {_mm512_or_ps(_mm512_andnot_ps(_mm512_set1_ps(-0.0F), a.lanes),
                         _mm512_and_ps(_mm512_set1_ps(-0.0F), sign.lanes))};
}
/// a < b ? yes : no
inline Avx512Vector if_less(Avx512Vector a, Avx512Vector b, Avx512Vector yes, Avx512Vector no) {
    return {_mm512_mask_blend_ps(_mm512_cmp_ps_mask(a.lanes, b.lanes, _CMP_LT_OQ), no.lanes, yes.lanes)};
}
/// 2^n for whole n in -126 … 127
inline Avx512Vector power_of_two(Avx512Vector n) {
    const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.lanes), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
/// a - floor(a), 0 for infinities
inline Avx512Vector fraction(Avx512Vector a) {
    return {_mm512_reduce_ps(a.lanes, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
}
/// a 2^floor(x); 0 for x < -126, where it could be too small to be normal
inline Avx512Vector times_power_of_two(Avx512Vector a, Avx512Vector x) {
    const __mmask16 normal = _mm512_cmp_ps_mask(x.lanes, _mm512_set1_ps(-126.0F), _CMP_NLT_UQ);
    return {_mm512_maskz_scalef_ps(normal, a.lanes, x.lanes)};
}
/// The lanes that are touched as they are, `other` in those that are not
inline Avx512Vector or_else(Avx512Vector a, AllLanes, Avx512Vector) {
    return a;
}
inline Avx512Vector or_else(Avx512Vector a, FirstLanes first, Avx512Vector other) {
    return {_mm512_mask_blend_ps(Avx512Vector::mask(first), other.lanes, a.lanes)};
}
inline float sum(Avx512Vector a) {
    return _mm512_reduce_add_ps(a.lanes);
}
inline float largest(Avx512Vector a) {
    return _mm512_reduce_max_ps(a.lanes);
}

/// Eight sums of float64.
struct Avx512Doubles {
    __m512d lanes = _mm512_setzero_pd();
};
inline Avx512Doubles add_squares(Avx512Vector a, Avx512Doubles sums) {
    const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a.lanes));
    const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a.lanes, 1));
    return {_mm512_fmadd_pd(low, low, _mm512_fmadd_pd(high, high, sums.lanes))};
}
inline double sum(Avx512Doubles a) {
    return _mm512_reduce_add_pd(a.lanes);
}

}  // namespace expar
