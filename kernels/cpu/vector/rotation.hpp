#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void rotate_heads(const float* cosine, const float* sine, float direction, float* heads, int count, int half) {
    for (int head = 0; head < count; ++head) {
        float* a = heads + 2L * half * head;
        float* b = a + half;
        for_each_vector<Vector>(half, [=](long i, auto lanes) {
            const Vector c = Vector::load(cosine + i, lanes);
            const Vector s = Vector::all(direction) * Vector::load(sine + i, lanes);
            const Vector first = Vector::load(a + i, lanes);
            const Vector second = Vector::load(b + i, lanes);
            (first * c - second * s).store(a + i, lanes);
            (second * c + first * s).store(b + i, lanes);
        });
    }
}

template <class Vector>
constexpr RotationKernels rotation_kernels = {rotate_heads<Vector>};

}  // namespace expar
