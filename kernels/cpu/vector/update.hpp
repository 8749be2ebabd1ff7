#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void adamw_of(const AdamWFactors& factors, const float* gradient, float* value, float* moment1, float* moment2,
              long count) {
    const AdamWFactors f = factors;  // a copy, which no store below can change
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector g = Vector::all(f.gradient_scale) * Vector::load(gradient + i, lanes);
        const Vector m =
            fma(Vector::all(f.beta1), Vector::load(moment1 + i, lanes), Vector::all(f.one_minus_beta1) * g);
        const Vector v =
            fma(Vector::all(f.beta2), Vector::load(moment2 + i, lanes), Vector::all(f.one_minus_beta2) * g * g);
        m.store(moment1 + i, lanes);
        v.store(moment2 + i, lanes);
        const Vector root = sqrt(v * Vector::all(f.inverse_correction2)) + Vector::all(f.epsilon);
        const Vector w = Vector::load(value + i, lanes);
        const Vector change = fma(Vector::all(f.weight_decay), w, m * Vector::all(f.inverse_correction1) / root);
        (w - Vector::all(f.learning_rate) * change).store(value + i, lanes);
    });
}

template <class Vector>
void sgd_of(float rate, float scale, float decay, const float* gradient, float* value, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector w = Vector::load(value + i, lanes);
        const Vector change = fma(Vector::all(decay), w, Vector::all(scale) * Vector::load(gradient + i, lanes));
        (w - Vector::all(rate) * change).store(value + i, lanes);
    });
}

template <class Vector>
double sum_of_squares_of(const float* in, long count) {
    double total = 0;
    for_each_vector<Vector>(count, [&](long i, auto lanes) { total += sum_of_squares(Vector::load(in + i, lanes)); });
    return total;
}

template <class Vector>
constexpr UpdateKernels update_kernels = {adamw_of<Vector>, sgd_of<Vector>, sum_of_squares_of<Vector>};

}  // namespace expar
