#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector, class Element>
void rotate_heads(const Rotation& rotation, Element* heads, int count) {
    const Rotation r = rotation;  // a copy, which no store below can change
    for (int head = 0; head < count; ++head) {
        Element* a = heads + 2L * r.half * head;
        Element* b = a + r.half;
        for_each_vector<Vector>(r.half, [=](long i, auto lanes) {
            const Vector c = Vector::load(r.cosine + i, lanes);
            const Vector s = Vector::all(r.direction) * Vector::load(r.sine + i, lanes);
            const Vector first = Vector::load(a + i, lanes);
            const Vector second = Vector::load(b + i, lanes);
            (first * c - second * s).store(a + i, lanes);
            (second * c + first * s).store(b + i, lanes);
        });
    }
}

template <class Vector, class Element>
constexpr RotationKernels<Element> rotation_kernels = {rotate_heads<Vector, Element>};

}  // namespace expar
