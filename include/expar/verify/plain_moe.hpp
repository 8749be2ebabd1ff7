#pragma once

#include <span>
#include <string>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_math.hpp"
#include "expar/verify/plain_mlp.hpp"
#include "expar/verify/plain_router.hpp"

namespace expar {

/// The experts of one layer with their router and shared expert: y = sum_kept w_j expert_j(x) + shared part.
///
/// Borrows the weights; `options` must be resolved. Keeps nothing between forward and backward.
class PlainMoe {
public:
    /// `prefix` is the name before "router.weight": "layers.0." in a model, "" for a block alone.
    PlainMoe(const ModelOptions& options, const PlainWeights& weights, const std::string& prefix);

    /// [T, hidden] -> [T, experts]
    [[nodiscard]] std::vector<double> logits(std::span<const double> x) const;

    /// [T, hidden] -> [T, hidden]
    [[nodiscard]] std::vector<double> forward(std::span<const double> x, const PlainRouting& routing) const;

    /// The gradient with respect to x; adds those with respect to the weights to `gradients`.
    ///
    /// d_logits_of_losses [T, experts] joins what reaches the logits through the weights of the choices.
    [[nodiscard]] std::vector<double> backward(std::span<const double> x, const PlainRouting& routing,
                                               std::span<const double> d_y, std::span<const double> d_logits_of_losses,
                                               PlainWeights& gradients) const;

private:
    [[nodiscard]] std::vector<double> shared_forward(std::span<const double> x) const;
    [[nodiscard]] std::vector<double> shared_backward(std::span<const double> x, std::span<const double> d_y,
                                                      PlainWeights& gradients) const;
    [[nodiscard]] bool has_shared() const { return options_.shared_intermediate > 0; }
    [[nodiscard]] std::span<const double> row_of(std::span<const double> rows, std::size_t token) const {
        return rows.subspan(token * options_.hidden, options_.hidden);
    }

    ModelOptions options_;
    const PlainWeights& weights_;
    std::string prefix_;
    std::vector<PlainMlp> experts_;
    PlainMlp shared_;
};

}  // namespace expar
