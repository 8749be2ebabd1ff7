#pragma once

#include <algorithm>
#include <cmath>

#include "support/random_rows.hpp"

namespace expar {

/// max |gradient - numeric| / max |numeric| over every `every`-th element of `values`, which are float64 on the host
/// and are left as they were. `objective()` is what the gradient is of.
///
/// Central differences of fourth order: at this step truncation and rounding both stay near 1e-11 of the objective.
template <class Objective>
double gradient_error(Rows values, ConstRows gradient, Objective&& objective, int every = 1) {
    constexpr double step = 2e-4;
    double error = 0, largest = 0;
    for (int i = 0; i < values.rows() * values.cols(); i += every) {
        double& value = values.row<double>(i / values.cols())[i % values.cols()];
        const double before = value;
        const auto at = [&](double offset) {
            value = before + offset;
            const double result = objective();
            value = before;
            return result;
        };
        const double numeric = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
        const double difference = std::abs(gradient.row<double>(i / values.cols())[i % values.cols()] - numeric);
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
