#pragma once

#include <string>
#include <string_view>

#include "expar/base/matrix.hpp"

namespace expar {

/// The nonlinearity between the two maps of an expert.
enum class Activation {
    swiglu,     ///< silu(gate) · up
    gelu,       ///< x Φ(x), by erf
    gelu_tanh,  ///< the tanh approximation of it
    relu,
};

/// Throws UserError that lists the known names.
[[nodiscard]] Activation activation_named(std::string_view name);
[[nodiscard]] std::string activation_names();  ///< "swiglu, gelu, …"

/// Columns of `inner` for one column of the result: 2 with a gate, else 1.
[[nodiscard]] constexpr int inner_columns(Activation kind) {
    return kind == Activation::swiglu ? 2 : 1;
}

/// inner is [n, I], or [n, 2 I] with the gate in the first I columns and the value in the others.
class ActivationOperations {
public:
    virtual ~ActivationOperations() = default;

    virtual void forward(Activation kind, ConstRows inner, Rows out, Stream& stream) const = 0;
    /// d_out [n, I], of the dtype of inner or its wide one → d_inner [n, I or 2 I], which may be the memory of inner
    virtual void backward(Activation kind, ConstRows inner, ConstRows d_out, Rows d_inner, Stream& stream) const = 0;
};

}  // namespace expar
