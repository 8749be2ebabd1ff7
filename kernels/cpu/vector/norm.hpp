#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void apply_norm(float scale, const float* in, const float* weight, float* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(in + i, lanes) * Vector::all(scale) * Vector::load(weight + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector>
float dot_of_three(const float* a, const float* b, const float* c, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        return fma(Vector::load(a + i, lanes) * Vector::load(b + i, lanes), Vector::load(c + i, lanes), chain);
    });
}

template <class Vector>
void norm_backward(float a, float b, const float* x, const float* weight, const float* dy, float* dx, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector first = Vector::all(a) * Vector::load(weight + i, lanes) * Vector::load(dy + i, lanes);
        fma(Vector::all(-b), Vector::load(x + i, lanes), first).store(dx + i, lanes);
    });
}

template <class Vector>
void add_norm_backward(float a, float b, const float* x, const float* weight, const float* dy, float* dx, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector first = Vector::all(a) * Vector::load(weight + i, lanes) * Vector::load(dy + i, lanes);
        const Vector gradient = fma(Vector::all(-b), Vector::load(x + i, lanes), first);
        (Vector::load(dx + i, lanes) + gradient).store(dx + i, lanes);
    });
}

template <class Vector>
void add_norm_weight_gradient(float scale, const float* x, const float* dy, float* d_weight, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector scaled = Vector::all(scale) * Vector::load(x + i, lanes);
        fma(scaled, Vector::load(dy + i, lanes), Vector::load(d_weight + i, lanes)).store(d_weight + i, lanes);
    });
}

template <class Vector>
constexpr NormKernels norm_kernels = {apply_norm<Vector>, dot_of_three<Vector>, norm_backward<Vector>,
                                      add_norm_backward<Vector>, add_norm_weight_gradient<Vector>};

}  // namespace expar
