#pragma once

namespace expar {

/// e^x within 2 units in the last place for x in -87 … 88.3; 0 below, e^88.3 above; NaN stays NaN.
///
/// e^x = 2^n e^r with n the whole number nearest to x / ln 2, so that |r| <= ln 2 / 2; e^r by its Taylor polynomial
/// with coefficients adjusted to that interval (Cephes' expf).
template <class Vector>
[[gnu::always_inline]] inline Vector exp(Vector x) {
    const Vector lowest = Vector::all(-87.0F);
    const Vector bounded = min(Vector::all(88.3F), max(lowest, x));
    const Vector n = round(bounded * Vector::all(1.44269504F));
    // ln 2 in two parts, of which n times the first is exact.
    Vector r = fma(n, Vector::all(-0.693359375F), bounded);
    r = fma(n, Vector::all(2.12194440e-4F), r);
    Vector p = Vector::all(1.9875691500e-4F);
    p = fma(p, r, Vector::all(1.3981999507e-3F));
    p = fma(p, r, Vector::all(8.3334519073e-3F));
    p = fma(p, r, Vector::all(4.1665795894e-2F));
    p = fma(p, r, Vector::all(1.6666665459e-1F));
    p = fma(p, r, Vector::all(5.0000001201e-1F));
    p = fma(p, r * r, r) + Vector::all(1);
    return if_less(x, lowest, Vector::all(0), p * power_of_two(n));
}

/// 2^x within 1 unit in the last place for x in -126 … 128, exact for whole x; 0 below, NaN stays NaN.
///
/// 2^x = 2^floor(x) 2^r, 2^r by the polynomial of least relative error on 0 … 1 among those that are 1 at 0.
template <class Vector>
[[gnu::always_inline]] inline Vector exp2(Vector x) {
    const Vector r = fraction(x);
    Vector p = Vector::all(2.16129207e-4F);
    p = fma(p, r, Vector::all(1.24678446e-3F));
    p = fma(p, r, Vector::all(9.67545155e-3F));
    p = fma(p, r, Vector::all(5.54852821e-2F));
    p = fma(p, r, Vector::all(2.40229309e-1F));
    p = fma(p, r, Vector::all(6.93147063e-1F));
    p = fma(p, r, Vector::all(1));
    return times_power_of_two(p, x);
}

template <class Vector>
[[gnu::always_inline]] inline Vector sigmoid(Vector x) {
    return Vector::all(1) / (Vector::all(1) + exp(Vector::all(0) - x));
}

/// The error function within 2 units in the last place: near 0 an odd polynomial, elsewhere 1 - e^(a polynomial).
template <class Vector>
[[gnu::always_inline]] inline Vector erf(Vector x) {
    const Vector t = abs(x);
    const Vector s = x * x;
    Vector near = Vector::all(-5.96761703e-4F);
    near = fma(near, s, Vector::all(4.99119423e-3F));
    near = fma(near, s, Vector::all(-2.67681349e-2F));
    near = fma(near, s, Vector::all(1.12819925e-1F));
    near = fma(near, s, Vector::all(-3.76125336e-1F));
    near = fma(near, s, Vector::all(1.28379166e-1F));
    near = fma(near, x, x);
    Vector far = fma(Vector::all(-1.72853470e-5F), t, Vector::all(3.83197126e-4F));
    far = fma(far, s, fma(Vector::all(-3.88396438e-3F), t, Vector::all(2.42546219e-2F)));
    far = fma(far, t, Vector::all(-1.06777877e-1F));
    far = fma(far, t, Vector::all(-6.34846687e-1F));
    far = fma(far, t, Vector::all(-1.28717512e-1F));
    far = with_sign(Vector::all(1) - exp(fma(far, t, Vector::all(0) - t)), x);
    return if_less(Vector::all(0.927734375F), t, far, near);
}

}  // namespace expar
