#include "expar/verify/plain_moe.hpp"

#include <cmath>

#include "expar/base/error.hpp"

namespace expar {
namespace {

std::vector<double> scaled(std::span<const double> row, double factor) {
    std::vector<double> result(row.begin(), row.end());
    for (double& x : result) x *= factor;
    return result;
}

double sigmoid(double x) {
    return 1 / (1 + std::exp(-x));
}

}  // namespace

PlainMoe::PlainMoe(const ModelOptions& options, const PlainWeights& weights, const std::string& prefix)
    : options_(options), weights_(weights), prefix_(prefix), shared_(options, weights, prefix + "shared.") {
    for (int expert = 0; expert < options.experts; ++expert)
        experts_.emplace_back(options, weights, concat(prefix, "experts.", expert, "."));
}

std::vector<double> PlainMoe::logits(std::span<const double> x) const {
    return plain_linear(x, weights_.at(prefix_ + "router.weight"), options_.hidden);
}

std::vector<double> PlainMoe::forward(std::span<const double> x, const PlainRouting& routing) const {
    std::vector<double> y(x.size());
    if (has_shared()) y = shared_forward(x);
    for (std::size_t place = 0; place < routing.choices.size(); ++place) {
        if (!routing.kept[place]) continue;
        const std::size_t token = place / options_.top_k;
        const auto output = experts_[routing.choices[place]].forward(row_of(x, token));
        plain_add(std::span(y).subspan(token * options_.hidden, options_.hidden),
                  scaled(output, routing.weights[place]));
    }
    return y;
}

std::vector<double> PlainMoe::backward(std::span<const double> x, const PlainRouting& routing,
                                       std::span<const double> d_y, std::span<const double> d_logits_of_losses,
                                       PlainWeights& gradients) const {
    std::vector<double> d_x(x.size());
    if (has_shared()) d_x = shared_backward(x, d_y, gradients);
    std::vector<double> d_weights(routing.choices.size());
    for (std::size_t place = 0; place < routing.choices.size(); ++place) {
        if (!routing.kept[place]) continue;
        const std::size_t token = place / options_.top_k;
        const PlainMlp& expert = experts_[routing.choices[place]];
        d_weights[place] = plain_dot(row_of(d_y, token), expert.forward(row_of(x, token)));
        const auto d_output = scaled(row_of(d_y, token), routing.weights[place]);
        plain_add(std::span(d_x).subspan(token * options_.hidden, options_.hidden),
                  expert.backward(row_of(x, token), d_output, gradients));
    }
    auto d_logits = plain_route_backward(options_, routing, d_weights);
    plain_add(d_logits, d_logits_of_losses);
    const std::string router = prefix_ + "router.weight";
    plain_add(d_x, plain_linear_backward(x, weights_.at(router), options_.hidden, d_logits, gradients.at(router)));
    return d_x;
}

// Gated: sigmoid(x . gate) * shared(x); otherwise the shared expert's output as it is.
std::vector<double> PlainMoe::shared_forward(std::span<const double> x) const {
    auto y = shared_.forward(x);
    if (options_.shared != "gated") return y;
    const auto gates = plain_linear(x, weights_.at(prefix_ + "shared_gate.weight"), options_.hidden);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] *= sigmoid(gates[i / options_.hidden]);
    return y;
}

std::vector<double> PlainMoe::shared_backward(std::span<const double> x, std::span<const double> d_y,
                                              PlainWeights& gradients) const {
    if (options_.shared != "gated") return shared_.backward(x, d_y, gradients);
    const std::string gate = prefix_ + "shared_gate.weight";
    const auto gates = plain_linear(x, weights_.at(gate), options_.hidden);
    const auto output = shared_.forward(x);
    std::vector<double> d_output, d_gates;
    for (std::size_t token = 0; token < gates.size(); ++token) {
        const double open = sigmoid(gates[token]);
        const auto d_row = scaled(row_of(d_y, token), open);
        d_output.insert(d_output.end(), d_row.begin(), d_row.end());
        d_gates.push_back(open * (1 - open) * plain_dot(row_of(d_y, token), row_of(output, token)));
    }
    auto d_x = shared_.backward(x, d_output, gradients);
    plain_add(d_x, plain_linear_backward(x, weights_.at(gate), options_.hidden, d_gates, gradients.at(gate)));
    return d_x;
}

}  // namespace expar
