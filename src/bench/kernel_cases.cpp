#include "expar/bench/kernel_cases.hpp"

#include <iterator>

#include "cases.hpp"

namespace expar {

std::vector<DType> kernel_dtypes() {
    return {DType::float32};
}

std::vector<KernelCase> kernel_cases(DType rows) {
    std::vector<KernelCase> all;
    const auto add = [&](std::vector<KernelCase> some) {
        all.insert(all.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
    };
    add(product_cases(rows));
    add(attention_cases(rows));
    add(row_cases(rows));
    add(routing_cases(rows));
    if (rows == DType::float32) add(update_cases());  // parameters are float32, whatever rows are
    return all;
}

}  // namespace expar
