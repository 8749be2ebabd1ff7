#include "expar/moe/dispatch_plan.hpp"

namespace expar {

int header_columns(int top_k, DType weight_dtype) {
    return top_k + top_k * int(size_of(weight_dtype) / sizeof(int));
}

}  // namespace expar
