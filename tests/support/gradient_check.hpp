#pragma once

#include <cmath>

#include "support/random_rows.hpp"

namespace expar {

/// Compares `gradient` with central differences of `objective`, a function of what `x` holds, in float64.
/// Returns max |difference| / max |numeric gradient|.
template <class Objective>
double gradient_error(Rows x, ConstRows gradient, Objective&& objective) {
    const double step = 1e-5;
    double error = 0, largest = 0;
    for (int r = 0; r < x.rows(); ++r)
        for (int c = 0; c < x.cols(); ++c) {
            double& value = x.row<double>(r)[c];
            const double before = value;
            value = before + step;
            const double above = objective();
            value = before - step;
            const double below = objective();
            value = before;
            const double numeric = (above - below) / (2 * step);
            const double difference = std::abs(numeric - element(gradient, r, c));
            if (!(difference <= error)) error = difference;
            largest = std::max(largest, std::abs(numeric));
        }
    return error == 0 ? 0 : error / largest;
}

/// Σ a b over all elements: an objective whose gradient with respect to `a` is `b`.
inline double inner_product(ConstRows a, ConstRows b) {
    double sum = 0;
    for (int r = 0; r < a.rows(); ++r)
        for (int c = 0; c < a.cols(); ++c) sum += element(a, r, c) * element(b, r, c);
    return sum;
}

}  // namespace expar
