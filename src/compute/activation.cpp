#include "expar/compute/activation.hpp"

#include <array>

namespace expar {
namespace {

struct NamedActivation {
    std::string_view name;
    Activation kind;
};

constexpr std::array activations = {
    NamedActivation{"swiglu", Activation::swiglu},
    NamedActivation{"gelu", Activation::gelu},
    NamedActivation{"gelu_tanh", Activation::gelu_tanh},
    NamedActivation{"relu", Activation::relu},
};

}  // namespace

Activation activation_named(std::string_view name) {
    for (const auto& known : activations)
        if (known.name == name) return known.kind;
    throw UserError(concat("unknown activation '", name, "'; known: ", activation_names()));
}

std::string activation_names() {
    std::string names;
    for (const auto& known : activations) names += concat(names.empty() ? "" : ", ", known.name);
    return names;
}

}  // namespace expar
