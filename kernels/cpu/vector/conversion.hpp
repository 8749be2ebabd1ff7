#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void widen_row(const bfloat16* in, float* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) { Vector::load(in + i, lanes).store(out + i, lanes); });
}

template <class Vector>
void round_row(const float* in, bfloat16* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) { Vector::load(in + i, lanes).store(out + i, lanes); });
}

template <class Vector>
void add_round_row(const float* in, bfloat16* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(out + i, lanes) + Vector::load(in + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector>
constexpr ConversionKernels conversion_kernels = {widen_row<Vector>, round_row<Vector>, add_round_row<Vector>};

}  // namespace expar
