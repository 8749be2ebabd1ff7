#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

[[gnu::always_inline]] inline const bfloat16* elements_of(const uint16_t* bits) {
    return reinterpret_cast<const bfloat16*>(bits);
}
[[gnu::always_inline]] inline bfloat16* elements_of(uint16_t* bits) {
    return reinterpret_cast<bfloat16*>(bits);
}

template <class Vector>
void widen_bits(const uint16_t* in, float* out, long count) {
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { Vector::load(elements_of(in) + i, lanes).store(out + i, lanes); });
}

template <class Vector>
void round_bits(const float* in, uint16_t* out, long count) {
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { Vector::load(in + i, lanes).store(elements_of(out) + i, lanes); });
}

template <class Vector>
void add_round_bits(const float* in, uint16_t* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(elements_of(out) + i, lanes) + Vector::load(in + i, lanes)).store(elements_of(out) + i, lanes);
    });
}

template <class Vector>
constexpr ConversionKernels conversion_kernels = {widen_bits<Vector>, round_bits<Vector>, add_round_bits<Vector>};

}  // namespace expar
