#pragma once

#include <string>

#include "expar/verify/plain_math.hpp"

namespace expar {

struct PlainOptimizer {
    std::string kind = "adamw";  ///< adamw | sgd (without momentum)
    double learning_rate = 0;    ///< of this step
    double router_scale = 1;     ///< the router's learning rate over that of the others
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0;  ///< decoupled, on everything but norm weights
    double clip = 0;          ///< the largest norm of all gradients together; 0: no limit
};

/// Weights and what AdamW remembers of them. Moments that are missing are zero.
struct PlainState {
    PlainWeights weights, moment1, moment2;
};

/// Root of the sum of squares of all gradients.
[[nodiscard]] double plain_gradient_norm(const PlainWeights& gradients);

/// What every gradient is multiplied by: min(1, clip / norm).
[[nodiscard]] double plain_clip_factor(double norm, double clip);

/// The state after step `step` (the first is 1) with gradients that are not yet clipped.
[[nodiscard]] PlainState plain_update(const PlainOptimizer& optimizer, int step, const PlainState& state,
                                      const PlainWeights& gradients);

}  // namespace expar
