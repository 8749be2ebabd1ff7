#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void rotate_pairs(const float* cosine, const float* sine, float* a, float* b, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector c = Vector::load(cosine + i, lanes);
        const Vector s = Vector::load(sine + i, lanes);
        const Vector first = Vector::load(a + i, lanes);
        const Vector second = Vector::load(b + i, lanes);
        (first * c - second * s).store(a + i, lanes);
        (second * c + first * s).store(b + i, lanes);
    });
}

template <class Vector>
constexpr RotationKernels rotation_kernels = {rotate_pairs<Vector>};

}  // namespace expar
