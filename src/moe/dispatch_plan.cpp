#include "expar/moe/dispatch_plan.hpp"

#include <array>

#include "expar/base/names.hpp"

namespace expar {

CombineOrder combine_order(std::string_view name) {
    constexpr std::array<Named<CombineOrder>, 2> orders = {
        {{"exact", CombineOrder::exact}, {"reduced", CombineOrder::reduced}}};
    return entry_named(orders, "combine order", name).value;
}

int header_columns(int top_k, DType weight_dtype) {
    return top_k + top_k * int(size_of(weight_dtype) / sizeof(int));
}

}  // namespace expar
