#include "expar/compute/activation.hpp"

#include <array>

#include "expar/base/names.hpp"

namespace expar {
namespace {

constexpr std::array<Named<Activation>, 4> activations = {{
    {"swiglu", Activation::swiglu},
    {"gelu", Activation::gelu},
    {"gelu_tanh", Activation::gelu_tanh},
    {"relu", Activation::relu},
}};

}  // namespace

Activation activation_named(std::string_view name) {
    return entry_named(activations, "activation", name).value;
}

std::string activation_names() {
    return names_of(activations);
}

}  // namespace expar
