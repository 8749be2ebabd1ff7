#pragma once

#include "../vector_kernels.hpp"
#include "lanes.hpp"

namespace expar {

template <class Vector>
void adamw_of(const AdamWFactors& factors, const AdamWRow& row, long count) {
    const AdamWFactors f = factors;  // copies, which no store below can change
    const AdamWRow r = row;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector g = Vector::all(f.gradient_scale) * Vector::load(r.gradient + i, lanes);
        const Vector m =
            fma(Vector::all(f.beta1), Vector::load(r.moment1 + i, lanes), Vector::all(f.one_minus_beta1) * g);
        const Vector v =
            fma(Vector::all(f.beta2), Vector::load(r.moment2 + i, lanes), Vector::all(f.one_minus_beta2) * g * g);
        m.store(r.moment1 + i, lanes);
        v.store(r.moment2 + i, lanes);
        const Vector root = sqrt(v * Vector::all(f.inverse_correction2)) + Vector::all(f.epsilon);
        const Vector w = Vector::load(r.value + i, lanes);
        const Vector change = fma(Vector::all(f.weight_decay), w, m * Vector::all(f.inverse_correction1) / root);
        (w - Vector::all(f.learning_rate) * change).store(r.value + i, lanes);
    });
}

template <class Vector>
void sgd_of(const SgdFactors& factors, const float* gradient, float* value, long count) {
    const SgdFactors f = factors;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector w = Vector::load(value + i, lanes);
        const Vector g = Vector::all(f.gradient_scale) * Vector::load(gradient + i, lanes);
        (w - Vector::all(f.learning_rate) * fma(Vector::all(f.weight_decay), w, g)).store(value + i, lanes);
    });
}

template <class Vector>
constexpr UpdateKernels update_kernels = {adamw_of<Vector>, sgd_of<Vector>};

}  // namespace expar
