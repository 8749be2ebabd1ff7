#include "expar/compute/routing.hpp"

#include <array>

#include "expar/base/names.hpp"

namespace expar {
namespace {

constexpr std::array<Named<RouterConvention>, 4> conventions = {{
    {"mixtral", RouterConvention::softmax_renormalized},
    {"olmoe", RouterConvention::softmax},
    {"gpt-oss", RouterConvention::topk_softmax},
    {"switch", RouterConvention::top1_probability},
}};

}  // namespace

RouterConvention router_convention(std::string_view name) {
    return entry_named(conventions, "router", name).value;
}

std::string router_convention_names() {
    return names_of(conventions);
}

}  // namespace expar
