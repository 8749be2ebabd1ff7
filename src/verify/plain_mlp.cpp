#include "expar/verify/plain_mlp.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "expar/base/error.hpp"

namespace expar {
namespace {

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

double normal_cumulative(double x) {
    return (1 + std::erf(x / std::numbers::sqrt2)) / 2;
}
double normal_density(double x) {
    return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi);
}

// The argument of tanh in GELU's approximation, and its derivative.
double tanh_argument(double x) {
    return std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
}
double tanh_argument_derivative(double x) {
    return std::sqrt(2 / std::numbers::pi) * (1 + 3 * 0.044715 * x * x);
}

}  // namespace

double plain_activation(const std::string& name, double x) {
    if (name == "swiglu") return x * sigmoid(x);
    if (name == "gelu") return x * normal_cumulative(x);
    if (name == "gelu_tanh") return x / 2 * (1 + std::tanh(tanh_argument(x)));
    if (name == "relu") return std::max(x, 0.0);
    throw Error(concat("plain reference: unknown activation '", name, "'"));
}

double plain_activation_derivative(const std::string& name, double x) {
    if (name == "swiglu") return sigmoid(x) * (1 + x * (1 - sigmoid(x)));
    if (name == "gelu") return normal_cumulative(x) + x * normal_density(x);
    if (name == "gelu_tanh") {
        const double tanh = std::tanh(tanh_argument(x));
        return (1 + tanh) / 2 + x / 2 * (1 - tanh * tanh) * tanh_argument_derivative(x);
    }
    if (name == "relu") return x > 0 ? 1 : 0;
    throw Error(concat("plain reference: unknown activation '", name, "'"));
}

PlainMlp::PlainMlp(const ModelOptions& options, const PlainWeights& weights, const std::string& prefix)
    : weights_(weights), prefix_(prefix), activation_(options.activation), hidden_(options.hidden) {}

PlainMlp::Inner PlainMlp::inner(std::span<const double> x) const {
    Inner inner;
    inner.up = plain_linear(x, weight("up.weight"), hidden_);
    if (gated()) inner.gate = plain_linear(x, weight("gate.weight"), hidden_);
    for (std::size_t i = 0; i < inner.up.size(); ++i)
        inner.product.push_back(gated() ? plain_activation(activation_, inner.gate[i]) * inner.up[i]
                                        : plain_activation(activation_, inner.up[i]));
    return inner;
}

std::vector<double> PlainMlp::forward(std::span<const double> x) const {
    const auto& down = weight("down.weight");
    return plain_linear(inner(x).product, down, int(down.size()) / hidden_);
}

std::vector<double> PlainMlp::backward(std::span<const double> x, std::span<const double> d_y,
                                       PlainWeights& gradients) const {
    const Inner inner = this->inner(x);
    const auto& down = weight("down.weight");
    const auto d_product = plain_linear_backward(inner.product, down, int(down.size()) / hidden_, d_y,
                                                 gradients.at(prefix_ + "down.weight"));
    std::vector<double> d_up, d_gate;
    for (std::size_t i = 0; i < d_product.size(); ++i) {
        if (gated()) {
            d_up.push_back(d_product[i] * plain_activation(activation_, inner.gate[i]));
            d_gate.push_back(d_product[i] * inner.up[i] * plain_activation_derivative(activation_, inner.gate[i]));
        } else {
            d_up.push_back(d_product[i] * plain_activation_derivative(activation_, inner.up[i]));
        }
    }
    auto d_x = plain_linear_backward(x, weight("up.weight"), hidden_, d_up, gradients.at(prefix_ + "up.weight"));
    if (gated())
        plain_add(d_x, plain_linear_backward(x, weight("gate.weight"), hidden_, d_gate,
                                             gradients.at(prefix_ + "gate.weight")));
    return d_x;
}

}  // namespace expar
