#pragma once

#include <immintrin.h>

#include "../vector/lanes.hpp"
#include "expar/base/bfloat16.hpp"

namespace expar {

struct Avx2Doubles;

/// 8 floats. Included by avx2/kernels.cpp alone.
struct Avx2Vector {
    using Doubles = Avx2Doubles;
    static constexpr int width = 8;
    static constexpr int tile_rows = 6;  // a product's tile: 12 sums, 2 vectors of b and one of a in 16 registers
    static constexpr int tile_vectors = 2;

    __m256 lanes;

    static __m256i mask(FirstLanes first) {
        return _mm256_cmpgt_epi32(_mm256_set1_epi32(first.count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    }

    static Avx2Vector all(float value) { return {_mm256_set1_ps(value)}; }
    static Avx2Vector load(const float* from, AllLanes = {}) { return {_mm256_loadu_ps(from)}; }
    static Avx2Vector load(const float* from, FirstLanes first) { return {_mm256_maskload_ps(from, mask(first))}; }
    void store(float* to, AllLanes = {}) const { _mm256_storeu_ps(to, lanes); }
    void store(float* to, FirstLanes first) const { _mm256_maskstore_ps(to, mask(first), lanes); }
    void store_past_caches(float* to) const { _mm256_stream_ps(to, lanes); }
    void store_past_caches(bfloat16* to) const { _mm_stream_si128(reinterpret_cast<__m128i*>(to), narrowed()); }
    static void copy_line_past_caches(const void* from, void* to) {
        const auto* in = static_cast<const __m256i*>(from);
        auto* out = static_cast<__m256i*>(to);
        const __m256i low = _mm256_loadu_si256(in), high = _mm256_loadu_si256(in + 1);
        _mm256_stream_si256(out, low);
        _mm256_stream_si256(out + 1, high);
    }

    // bfloat16 is widened on the way in, and rounded as to_bfloat16 does on the way out.
    static Avx2Vector load(const bfloat16* from, AllLanes = {}) {
        return widened(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
    }
    static Avx2Vector load(const bfloat16* from, FirstLanes first) {
        bfloat16 all[width] = {};
        __builtin_memcpy(all, from, unsigned(first.count) * sizeof(bfloat16));
        return load(all);
    }
    void store(bfloat16* to, AllLanes = {}) const { _mm_storeu_si128(reinterpret_cast<__m128i*>(to), narrowed()); }
    void store(bfloat16* to, FirstLanes first) const {
        bfloat16 all[width];
        store(all);
        __builtin_memcpy(to, all, unsigned(first.count) * sizeof(bfloat16));
    }

    // Two vectors as Pair has them.
    static void load_pair(const float* from, Avx2Vector& a, Avx2Vector& b) {
        a = load(from);
        b = load(from + width);
    }
    static void load_pair(const bfloat16* from, Avx2Vector& even, Avx2Vector& odd) {
        const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        even = {_mm256_castsi256_ps(_mm256_slli_epi32(both, 16))};
        odd = {_mm256_castsi256_ps(upper_halves(both))};
    }
    static void store_pair(Avx2Vector a, Avx2Vector b, float* to) {
        a.store(to);
        b.store(to + width);
    }
    static void store_pair(Avx2Vector even, Avx2Vector odd, bfloat16* to) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), interleaved(even, odd));
    }
    static void store_pair_past_caches(Avx2Vector a, Avx2Vector b, float* to) {
        a.store_past_caches(to);
        b.store_past_caches(to + width);
    }
    static void store_pair_past_caches(Avx2Vector even, Avx2Vector odd, bfloat16* to) {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(to), interleaved(even, odd));
    }

    /// As it would be read again after a store there.
    [[nodiscard]] Avx2Vector rounded_as(const float*) const { return *this; }
    [[nodiscard]] Avx2Vector rounded_as(const bfloat16*) const {
        return {_mm256_castsi256_ps(upper_halves(nearest()))};
    }

private:
    static Avx2Vector widened(__m128i halves) {
        return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))};
    }
    static __m256i upper_halves(__m256i bits) { return _mm256_and_si256(bits, _mm256_set1_epi32(int(0xffff0000))); }
    static __m256i interleaved(Avx2Vector even, Avx2Vector odd) {
        return _mm256_blend_epi16(_mm256_srli_epi32(even.nearest(), 16), odd.nearest(), 0xaa);
    }
    // The upper half of each lane is rounded; the lower is anything.
    [[nodiscard]] __m256i nearest() const {
        const __m256i bits = _mm256_castps_si256(lanes);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
        const __m256i nearest = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
        const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
        const __m256i no_number = _mm256_castps_si256(_mm256_cmp_ps(lanes, lanes, _CMP_UNORD_Q));
        return _mm256_blendv_epi8(nearest, quiet, no_number);
    }
    [[nodiscard]] __m128i narrowed() const {
        const __m256i upper = _mm256_srli_epi32(nearest(), 16);
        return _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
    }
};

inline Avx2Vector operator+(Avx2Vector a, Avx2Vector b) {
    return {_mm256_add_ps(a.lanes, b.lanes)};
}
inline Avx2Vector operator-(Avx2Vector a, Avx2Vector b) {
    return {_mm256_sub_ps(a.lanes, b.lanes)};
}
inline Avx2Vector operator*(Avx2Vector a, Avx2Vector b) {
    return {_mm256_mul_ps(a.lanes, b.lanes)};
}
inline Avx2Vector operator/(Avx2Vector a, Avx2Vector b) {
    return {_mm256_div_ps(a.lanes, b.lanes)};
}
/// a b + c, rounded once
inline Avx2Vector fma(Avx2Vector a, Avx2Vector b, Avx2Vector c) {
    return {_mm256_fmadd_ps(a.lanes, b.lanes, c.lanes)};
}
// Where b is not a number, the result is b.
inline Avx2Vector min(Avx2Vector a, Avx2Vector b) {
    return {_mm256_min_ps(a.lanes, b.lanes)};
}
inline Avx2Vector max(Avx2Vector a, Avx2Vector b) {
    return {_mm256_max_ps(a.lanes, b.lanes)};
}
inline Avx2Vector sqrt(Avx2Vector a) {
    return {_mm256_sqrt_ps(a.lanes)};
}
inline Avx2Vector round(Avx2Vector a) {
    return {_mm256_round_ps(a.lanes, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Avx2Vector abs(Avx2Vector a) {
    return {_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.lanes)};
}
/// The size of `a` with the sign of `sign`
inline Avx2Vector with_sign(Avx2Vector a, Avx2Vector sign) {
    return {_mm256_or_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0F), a.lanes),
                         _mm256_and_ps(_mm256_set1_ps(-0.0F), sign.lanes))};
}
/// a < b ? yes : no
inline Avx2Vector if_less(Avx2Vector a, Avx2Vector b, Avx2Vector yes, Avx2Vector no) {
    return {_mm256_blendv_ps(no.lanes, yes.lanes, _mm256_cmp_ps(a.lanes, b.lanes, _CMP_LT_OQ))};
}
/// 2^n for whole n in -126 … 127
inline Avx2Vector power_of_two(Avx2Vector n) {
    const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n.lanes), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))};
}
/// a - floor(a); not a number for infinities
inline Avx2Vector fraction(Avx2Vector a) {
    return {_mm256_sub_ps(a.lanes, _mm256_floor_ps(a.lanes))};
}
/// a 2^floor(x); 0 for x < -126, where it could be too small to be normal
inline Avx2Vector times_power_of_two(Avx2Vector a, Avx2Vector x) {
    const Avx2Vector lowest = Avx2Vector::all(-126.0F);
    const Avx2Vector whole = {_mm256_floor_ps(max(lowest, x).lanes)};
    return if_less(x, lowest, Avx2Vector::all(0), a * power_of_two(whole));
}
/// The lanes that are touched as they are, `other` in those that are not
inline Avx2Vector or_else(Avx2Vector a, AllLanes, Avx2Vector) {
    return a;
}
inline Avx2Vector or_else(Avx2Vector a, FirstLanes first, Avx2Vector other) {
    return {_mm256_blendv_ps(other.lanes, a.lanes, _mm256_castsi256_ps(Avx2Vector::mask(first)))};
}
inline float sum(Avx2Vector a) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a.lanes), _mm256_extractf128_ps(a.lanes, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline float largest(Avx2Vector a) {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a.lanes), _mm256_extractf128_ps(a.lanes, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// Four sums of float64.
struct Avx2Doubles {
    __m256d lanes = _mm256_setzero_pd();
};
inline Avx2Doubles add_squares(Avx2Vector a, Avx2Doubles sums) {
    const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(a.lanes));
    const __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(a.lanes, 1));
    return {_mm256_fmadd_pd(low, low, _mm256_fmadd_pd(high, high, sums.lanes))};
}
inline double sum(Avx2Doubles a) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(a.lanes), _mm256_extractf128_pd(a.lanes, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

}  // namespace expar
