#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector, class Element>
void apply_norm(float scale, const Element* in, const float* weight, Element* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(in + i, lanes) * Vector::all(scale) * Vector::load(weight + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector, class Element>
float weighted_dot_of(const float* weight, const Element* a, const Element* b, long count) {
    return sum_of_terms<Vector>(count, [=](long i, auto lanes, Vector chain) {
        return fma(Vector::load(weight + i, lanes) * Vector::load(a + i, lanes), Vector::load(b + i, lanes), chain);
    });
}

template <class Vector, class Element, class Lanes>
[[gnu::always_inline]] inline Vector gradient_at(const NormGradient<Element>& g, long i, Lanes lanes) {
    const Vector first = Vector::all(g.a) * Vector::load(g.weight + i, lanes) * Vector::load(g.dy + i, lanes);
    return fma(Vector::all(-g.b), Vector::load(g.x + i, lanes), first);
}

template <class Vector, class Element>
void norm_backward(const NormGradient<Element>& gradient, Element* dx, long count) {
    const NormGradient<Element> g = gradient;  // a copy, which no store below can change
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { gradient_at<Vector, Element>(g, i, lanes).store(dx + i, lanes); });
}

template <class Vector, class Element>
void add_norm_backward(const NormGradient<Element>& gradient, Element* dx, long count) {
    const NormGradient<Element> g = gradient;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(dx + i, lanes) + gradient_at<Vector, Element>(g, i, lanes)).store(dx + i, lanes);
    });
}

template <class Vector, class Element>
void add_norm_weight_gradient(float scale, const Element* x, const Element* dy, float* d_weight, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector scaled = Vector::all(scale) * Vector::load(x + i, lanes);
        fma(scaled, Vector::load(dy + i, lanes), Vector::load(d_weight + i, lanes)).store(d_weight + i, lanes);
    });
}

template <class Vector, class Element>
constexpr NormKernels<Element> norm_kernels = {
    apply_norm<Vector, Element>,        weighted_dot_of<Vector, Element>,          norm_backward<Vector, Element>,
    add_norm_backward<Vector, Element>, add_norm_weight_gradient<Vector, Element>,
};

}  // namespace expar
