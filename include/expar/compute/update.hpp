#pragma once

#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// One step of AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019).
struct AdamW {
    double learning_rate = 1e-3;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0;
    double gradient_scale = 1;  ///< the clip factor
    int step = 1;               ///< counted from 1, for the bias correction
};

/// Element-wise changes of parameters by their gradients.
class UpdateOperations {
public:
    virtual ~UpdateOperations() = default;

    /// g = scale · gradient; m = β1 m + (1-β1) g; v = β2 v + (1-β2) g²; value -= lr (m̂ / (√v̂ + ε) + decay · value)
    virtual void adamw(const AdamW& options, ConstRows gradient, Rows value, Rows moment1, Rows moment2,
                       Stream& stream) const = 0;
    /// value -= learning_rate · (scale · gradient + weight_decay · value)
    virtual void sgd(double learning_rate, double weight_decay, double gradient_scale, ConstRows gradient, Rows value,
                     Stream& stream) const = 0;
    /// Of rows, too. In float64, in an order that depends on the shape alone; in the host's hands when it returns.
    [[nodiscard]] virtual double sum_of_squares(ConstRows values, Stream& stream) const = 0;
    /// out = Σ_i parts[i], i ascending, in the matrix's type: how gradients of several ranks become one. `out` may be
    /// one of the parts.
    virtual void sum_in_order(std::span<const ConstRows> parts, Rows out, Stream& stream) const = 0;
};

}  // namespace expar
