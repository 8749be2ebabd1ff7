#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "expar/verify/plain_math.hpp"
#include "expar/verify/plain_parameters.hpp"

namespace expar {

/// Numbers between -1 and 1, the same on every machine.
inline std::vector<double> random_numbers(std::size_t count, std::uint64_t seed) {
    std::mt19937_64 generator(seed);
    std::vector<double> numbers;
    for (std::size_t i = 0; i < count; ++i) numbers.push_back(double(generator() >> 11) * 0x1p-52 - 1);
    return numbers;
}

/// Weights large enough that every part of a small model acts, norm weights around 1; `options` must be resolved.
inline PlainWeights random_weights(const ModelOptions& options, std::uint64_t seed) {
    PlainWeights weights;
    for (const auto& [name, size] : plain_parameter_sizes(options)) {
        const bool norm = name.ends_with("norm.weight");
        for (const double x : random_numbers(size, ++seed)) weights[name].push_back(norm ? 1 + 0.3 * x : 0.8 * x);
    }
    return weights;
}

/// The derivative of f at 0 by central differences; their error falls with the fourth power of the distance.
inline double numeric_derivative(const std::function<double(double)>& f, double distance = 1e-3) {
    return (8 * (f(distance) - f(-distance)) - (f(2 * distance) - f(-2 * distance))) / (12 * distance);
}

}  // namespace expar
