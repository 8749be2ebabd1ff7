#pragma once

#include "../vector_kernels.hpp"
#include "math.hpp"

namespace expar {

// f(x) and its derivative.
template <class Vector>
struct CurvePoint {
    Vector value;
    Vector slope;
};

template <class Vector>
struct Silu {
    [[gnu::always_inline]] static CurvePoint<Vector> at(Vector x) {
        const Vector s = sigmoid(x);
        return {x * s, s * fma(x, Vector::all(1) - s, Vector::all(1))};
    }
};

template <class Vector>
struct Gelu {
    [[gnu::always_inline]] static CurvePoint<Vector> at(Vector x) {
        const Vector half = Vector::all(0.5F);
        const Vector cumulative = fma(half, erf(x * Vector::all(0.707106781F)), half);
        const Vector density = Vector::all(0.398942280F) * exp(Vector::all(-0.5F) * x * x);
        return {x * cumulative, fma(x, density, cumulative)};
    }
};

// 0.5 (1 + tanh(u)) is sigmoid(2 u).
template <class Vector>
struct GeluTanh {
    [[gnu::always_inline]] static CurvePoint<Vector> at(Vector x) {
        const Vector scale = Vector::all(1.59576912F);  // 2 sqrt(2 / pi)
        const Vector cubic = Vector::all(0.0713548163F);
        const Vector squared = x * x;
        const Vector s = sigmoid(x * fma(cubic, squared, scale));
        const Vector inner_slope = fma(Vector::all(3) * cubic, squared, scale);
        return {x * s, s * fma(x * (Vector::all(1) - s), inner_slope, Vector::all(1))};
    }
};

template <class Vector>
struct Relu {
    [[gnu::always_inline]] static CurvePoint<Vector> at(Vector x) {
        const Vector zero = Vector::all(0);
        return {max(zero, x), if_less(zero, x, Vector::all(1), zero)};
    }
};

template <class Vector>
void swiglu(const float* gate, float* out, long count) {
    const float* up = gate + count;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const Vector g = Vector::load(gate + i, lanes);
        (g * sigmoid(g) * Vector::load(up + i, lanes)).store(out + i, lanes);
    });
}

template <class Vector>
void swiglu_backward(const float* gate, const float* d_out, float* d_gate, long count) {
    const float* up = gate + count;
    float* d_up = d_gate + count;
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        const CurvePoint<Vector> silu = Silu<Vector>::at(Vector::load(gate + i, lanes));
        const Vector d = Vector::load(d_out + i, lanes);
        const Vector d_value = d * silu.value;
        (d * Vector::load(up + i, lanes) * silu.slope).store(d_gate + i, lanes);
        d_value.store(d_up + i, lanes);
    });
}

template <class Vector, class Curve>
void apply_curve(const float* in, float* out, long count) {
    for_each_vector<Vector>(
        count, [=](long i, auto lanes) { Curve::at(Vector::load(in + i, lanes)).value.store(out + i, lanes); });
}

template <class Vector, class Curve>
void apply_curve_backward(const float* in, const float* d_out, float* d_in, long count) {
    for_each_vector<Vector>(count, [=](long i, auto lanes) {
        (Vector::load(d_out + i, lanes) * Curve::at(Vector::load(in + i, lanes)).slope).store(d_in + i, lanes);
    });
}

template <class Vector>
void swiglu_of_parts(const ActivationParts& p, long count) {
    for_each_vector<Vector>(count, [&](long i, auto lanes) {
        const Vector g = Vector::load(p.in + i, lanes);
        (g * sigmoid(g) * Vector::load(p.value + i, lanes)).store(p.out + i, lanes);
    });
}

template <class Vector>
void swiglu_backward_of_parts(const ActivationParts& p, long count) {
    for_each_vector<Vector>(count, [&](long i, auto lanes) {
        const CurvePoint<Vector> silu = Silu<Vector>::at(Vector::load(p.in + i, lanes));
        const Vector d = Vector::load(p.d_out + i, lanes);
        const Vector up = Vector::load(p.value + i, lanes);
        (silu.value * up).store(p.out + i, lanes);
        (d * up * silu.slope).store(p.in + i, lanes);
        (d * silu.value).store(p.value + i, lanes);
    });
}

template <class Vector, class Curve>
void apply_curve_to_parts(const ActivationParts& p, long count) {
    apply_curve<Vector, Curve>(p.in, p.out, count);
}

template <class Vector, class Curve>
void apply_curve_backward_to_parts(const ActivationParts& p, long count) {
    for_each_vector<Vector>(count, [&](long i, auto lanes) {
        const CurvePoint<Vector> curve = Curve::at(Vector::load(p.in + i, lanes));
        curve.value.store(p.out + i, lanes);
        (Vector::load(p.d_out + i, lanes) * curve.slope).store(p.in + i, lanes);
    });
}

template <class Vector, class Curve>
constexpr PartedActivation parted_curve = {apply_curve_to_parts<Vector, Curve>,
                                           apply_curve_backward_to_parts<Vector, Curve>};

template <class Vector>
constexpr PartedActivationKernels parted_activation_kernels = {
    .swiglu = {swiglu_of_parts<Vector>, swiglu_backward_of_parts<Vector>},
    .gelu = parted_curve<Vector, Gelu<Vector>>,
    .gelu_tanh = parted_curve<Vector, GeluTanh<Vector>>,
    .relu = parted_curve<Vector, Relu<Vector>>,
};

template <class Vector>
constexpr ActivationKernels activation_kernels = {
    .swiglu = swiglu<Vector>,
    .gelu = apply_curve<Vector, Gelu<Vector>>,
    .gelu_tanh = apply_curve<Vector, GeluTanh<Vector>>,
    .relu = apply_curve<Vector, Relu<Vector>>,
    .swiglu_backward = swiglu_backward<Vector>,
    .gelu_backward = apply_curve_backward<Vector, Gelu<Vector>>,
    .gelu_tanh_backward = apply_curve_backward<Vector, GeluTanh<Vector>>,
    .relu_backward = apply_curve_backward<Vector, Relu<Vector>>,
};

}  // namespace expar
