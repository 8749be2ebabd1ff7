#pragma once

#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// Softmax cross entropy in nats, of logits [n, V] against targets [n]; target -1 bears no loss. Logits are of a wide
/// dtype, as losses are.
class LossOperations {
public:
    virtual ~LossOperations() = default;

    /// losses[i] = log_sum_exp[i] - logits[i][target], 0 without target.   losses, log_sum_exp [n, 1]
    virtual void forward(ConstRows logits, std::span<const int> targets, Rows losses, Rows log_sum_exp,
                         Stream& stream) const = 0;
    /// d_logits[i] = scale (softmax(logits[i]) - onehot(target)), zero without target. May be the logits' own memory,
    /// or bfloat16 in memory of its own.
    virtual void backward(ConstRows logits, std::span<const int> targets, ConstRows log_sum_exp, double scale,
                          Rows d_logits, Stream& stream) const = 0;
};

}  // namespace expar
