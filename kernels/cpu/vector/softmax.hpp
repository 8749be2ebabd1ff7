#pragma once

#include "../vector_kernels.hpp"
#include "math.hpp"

namespace expar {

template <class Vector>
float largest_of(const float* in, long count) {
    const Vector lowest = Vector::all(-__builtin_inff());
    Vector found = lowest;
    for_each_vector<Vector>(
        count, [&](long i, auto lanes) { found = max(found, or_else(Vector::load(in + i, lanes), lanes, lowest)); });
    return largest(found);
}

template <class Vector>
float exponentials_of(float shift, const float* in, float* out, long count) {
    const Vector zero = Vector::all(0);
    Vector total = zero;
    for_each_vector<Vector>(count, [&](long i, auto lanes) {
        const Vector value = exp(Vector::load(in + i, lanes) - Vector::all(shift));
        value.store(out + i, lanes);
        total = total + or_else(value, lanes, zero);
    });
    return sum(total);
}

template <class Vector>
float sum_of_exponentials_of(float shift, const float* in, long count) {
    const Vector zero = Vector::all(0);
    Vector total = zero;
    for_each_vector<Vector>(count, [&](long i, auto lanes) {
        const Vector value = exp(Vector::load(in + i, lanes) - Vector::all(shift));
        total = total + or_else(value, lanes, zero);
    });
    return sum(total);
}

template <class Vector>
constexpr SoftmaxKernels softmax_kernels = {largest_of<Vector>, exponentials_of<Vector>,
                                            sum_of_exponentials_of<Vector>};

template <class Vector, class Element>
void loss_gradient(float factor, float shift, const float* in, Element* out, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::all(factor) * exp(Vector::load(in + i, lanes) - Vector::all(shift))).store(out + i, lanes);
    });
}

template <class Vector, class Element>
constexpr LossKernels<Element> loss_kernels = {loss_gradient<Vector, Element>};

}  // namespace expar
