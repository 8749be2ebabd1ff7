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

template <class Vector, class Lanes>
[[gnu::always_inline]] inline Vector gradient_at(const NormGradient& g, long i, Lanes lanes) {
    const Vector first = Vector::all(g.a) * Vector::load(g.weight + i, lanes) * Vector::load(g.dy + i, lanes);
    return fma(Vector::all(-g.b), Vector::load(g.x + i, lanes), first);
}

template <class Vector>
void norm_backward(const NormGradient& gradient, float* dx, long count) {
    const NormGradient g = gradient;  // a copy, which no store below can change
    for_each_vector<Vector>(count, [=](long i, auto lanes) { gradient_at<Vector>(g, i, lanes).store(dx + i, lanes); });
}

template <class Vector>
void add_norm_backward(const NormGradient& gradient, float* dx, long count) {
    const NormGradient g = gradient;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(dx + i, lanes) + gradient_at<Vector>(g, i, lanes)).store(dx + i, lanes);
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
