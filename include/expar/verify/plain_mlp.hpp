#pragma once

#include <span>
#include <string>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_math.hpp"

namespace expar {

/// swiglu means silu here: it is what the gate passes through.
[[nodiscard]] double plain_activation(const std::string& name, double x);
[[nodiscard]] double plain_activation_derivative(const std::string& name, double x);

/// One expert, shared expert or dense layer: down(silu(gate x) * (up x)) for swiglu, else down(activation(up x)).
///
/// Borrows the weights. Keeps nothing between forward and backward, which computes again what it needs.
class PlainMlp {
public:
    /// `prefix` is the name before "up.weight", for instance "layers.0.experts.3.".
    PlainMlp(const ModelOptions& options, const PlainWeights& weights, const std::string& prefix);

    /// [rows, hidden] -> [rows, hidden]
    [[nodiscard]] std::vector<double> forward(std::span<const double> x) const;

    /// The gradient with respect to x; adds those with respect to the weights to `gradients`.
    [[nodiscard]] std::vector<double> backward(std::span<const double> x, std::span<const double> d_y,
                                               PlainWeights& gradients) const;

private:
    /// What goes into `down` and what it is made of, [rows, width] each; gate is empty unless gated.
    struct Inner {
        std::vector<double> gate, up, product;
    };
    [[nodiscard]] Inner inner(std::span<const double> x) const;
    [[nodiscard]] bool gated() const { return activation_ == "swiglu"; }
    [[nodiscard]] const std::vector<double>& weight(const std::string& name) const {
        return weights_.at(prefix_ + name);
    }

    const PlainWeights& weights_;
    std::string prefix_;
    std::string activation_;
    int hidden_;
};

}  // namespace expar
