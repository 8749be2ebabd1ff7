#include "expar/verify/plain_math.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace expar {

std::vector<double> plain_linear(std::span<const double> x, std::span<const double> weight, int inputs) {
    const std::size_t width = std::size_t(inputs);
    const std::size_t rows = x.size() / width;
    const std::size_t outputs = weight.size() / width;
    assert(x.size() == rows * width && weight.size() == outputs * width);
    std::vector<double> y(rows * outputs);
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t o = 0; o < outputs; ++o)
            y[r * outputs + o] = plain_dot(x.subspan(r * width, width), weight.subspan(o * width, width));
    return y;
}

std::vector<double> plain_linear_backward(std::span<const double> x, std::span<const double> weight, int inputs,
                                          std::span<const double> d_y, std::span<double> d_weight) {
    const std::size_t width = std::size_t(inputs);
    const std::size_t rows = x.size() / width;
    const std::size_t outputs = weight.size() / width;
    assert(d_y.size() == rows * outputs && d_weight.size() == weight.size());
    std::vector<double> d_x(x.size());
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t o = 0; o < outputs; ++o)
            for (std::size_t i = 0; i < width; ++i) {
                d_x[r * width + i] += d_y[r * outputs + o] * weight[o * width + i];
                d_weight[o * width + i] += d_y[r * outputs + o] * x[r * width + i];
            }
    return d_x;
}

std::vector<double> plain_rms_norm(std::span<const double> x, std::span<const double> weight, double epsilon) {
    const std::size_t width = weight.size();
    std::vector<double> y(x.size());
    for (std::size_t start = 0; start < x.size(); start += width) {
        const auto row = x.subspan(start, width);
        const double scale = 1 / std::sqrt(plain_dot(row, row) / double(width) + epsilon);
        for (std::size_t i = 0; i < width; ++i) y[start + i] = row[i] * scale * weight[i];
    }
    return y;
}

// With s = 1 / sqrt(mean(x^2) + epsilon), ds/dx_i = -s^3 x_i / width.
std::vector<double> plain_rms_norm_backward(std::span<const double> x, std::span<const double> weight, double epsilon,
                                            std::span<const double> d_y, std::span<double> d_weight) {
    const std::size_t width = weight.size();
    std::vector<double> d_x(x.size());
    for (std::size_t start = 0; start < x.size(); start += width) {
        const auto row = x.subspan(start, width);
        const double scale = 1 / std::sqrt(plain_dot(row, row) / double(width) + epsilon);
        double d_scale = 0;
        for (std::size_t i = 0; i < width; ++i) {
            d_weight[i] += d_y[start + i] * row[i] * scale;
            d_scale += d_y[start + i] * row[i] * weight[i];
        }
        for (std::size_t i = 0; i < width; ++i)
            d_x[start + i] =
                d_y[start + i] * scale * weight[i] - d_scale * scale * scale * scale * row[i] / double(width);
    }
    return d_x;
}

std::vector<double> plain_softmax(std::span<const double> row) {
    const double log_sum = plain_log_sum_exp(row);
    std::vector<double> probabilities;
    for (const double x : row) probabilities.push_back(std::exp(x - log_sum));
    return probabilities;
}

std::vector<double> plain_softmax_backward(std::span<const double> probabilities,
                                           std::span<const double> d_probabilities) {
    const double mean = plain_dot(probabilities, d_probabilities);
    std::vector<double> d_row(probabilities.size());
    for (std::size_t i = 0; i < d_row.size(); ++i) d_row[i] = probabilities[i] * (d_probabilities[i] - mean);
    return d_row;
}

double plain_log_sum_exp(std::span<const double> row) {
    const double largest = *std::ranges::max_element(row);
    double sum = 0;
    for (const double x : row) sum += std::exp(x - largest);
    return largest + std::log(sum);
}

void plain_add(std::span<double> sum, std::span<const double> term) {
    assert(sum.size() == term.size());
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += term[i];
}

double plain_dot(std::span<const double> a, std::span<const double> b) {
    assert(a.size() == b.size());
    double sum = 0;
    for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

}  // namespace expar
