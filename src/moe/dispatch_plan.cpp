#include "expar/moe/dispatch_plan.hpp"

#include <algorithm>

namespace expar {

CombineOrder combine_order(std::string_view name) {
    return entry_named(combine_orders, "combine order", name).value;
}

std::string_view name_of(CombineOrder order) {
    return std::ranges::find(combine_orders, order, &Named<CombineOrder>::value)->name;
}

int header_columns(int top_k, DType weight_dtype) {
    return top_k + top_k * int(size_of(weight_dtype) / sizeof(int));
}

}  // namespace expar
