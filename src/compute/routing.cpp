#include "expar/compute/routing.hpp"

#include <array>

namespace expar {
namespace {

struct NamedConvention {
    std::string_view name;
    RouterConvention convention;
};

constexpr std::array conventions = {
    NamedConvention{"mixtral", RouterConvention::softmax_renormalized},
    NamedConvention{"olmoe", RouterConvention::softmax},
    NamedConvention{"gpt-oss", RouterConvention::topk_softmax},
    NamedConvention{"switch", RouterConvention::top1_probability},
};

}  // namespace

RouterConvention router_convention(std::string_view name) {
    for (const auto& known : conventions)
        if (known.name == name) return known.convention;
    throw UserError(concat("unknown router '", name, "'; known: ", router_convention_names()));
}

std::string router_convention_names() {
    std::string names;
    for (const auto& known : conventions) names += concat(names.empty() ? "" : ", ", known.name);
    return names;
}

}  // namespace expar
