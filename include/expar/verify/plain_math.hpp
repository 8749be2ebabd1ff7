#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

namespace expar {

/// One array per parameter, row-major, by the parameter's name in checkpoints: values, gradients or moments.
using PlainWeights = std::map<std::string, std::vector<double>>;

/// y = x W^T for every row: x [rows, inputs], weight [outputs, inputs], y [rows, outputs].
[[nodiscard]] std::vector<double> plain_linear(std::span<const double> x, std::span<const double> weight, int inputs);

/// The gradient with respect to x; adds that with respect to the weight to `d_weight`.
[[nodiscard]] std::vector<double> plain_linear_backward(std::span<const double> x, std::span<const double> weight,
                                                        int inputs, std::span<const double> d_y,
                                                        std::span<double> d_weight);

/// y = x / sqrt(mean(x^2) + epsilon) * weight for every row of as many elements as `weight` has.
[[nodiscard]] std::vector<double> plain_rms_norm(std::span<const double> x, std::span<const double> weight,
                                                 double epsilon);

/// The gradient with respect to x; adds that with respect to the weight to `d_weight`.
[[nodiscard]] std::vector<double> plain_rms_norm_backward(std::span<const double> x, std::span<const double> weight,
                                                          double epsilon, std::span<const double> d_y,
                                                          std::span<double> d_weight);

/// exp(x_i) / sum_j exp(x_j), of one row.
[[nodiscard]] std::vector<double> plain_softmax(std::span<const double> row);

/// The gradient with respect to the row whose softmax is `probabilities`.
[[nodiscard]] std::vector<double> plain_softmax_backward(std::span<const double> probabilities,
                                                         std::span<const double> d_probabilities);

/// log sum_j exp(x_j), of one row.
[[nodiscard]] double plain_log_sum_exp(std::span<const double> row);

/// sum += term, element by element.
void plain_add(std::span<double> sum, std::span<const double> term);

/// sum_i a_i b_i
[[nodiscard]] double plain_dot(std::span<const double> a, std::span<const double> b);

}  // namespace expar
