#pragma once

#include <string>
#include <utility>
#include <vector>

#include "expar/bench/kernel_case.hpp"

namespace expar {

// One file each.
[[nodiscard]] std::vector<KernelCase> product_cases(DType rows);
[[nodiscard]] std::vector<KernelCase> attention_cases(DType rows);
[[nodiscard]] std::vector<KernelCase> row_cases(DType rows);
[[nodiscard]] std::vector<KernelCase> routing_cases(DType rows);
[[nodiscard]] std::vector<KernelCase> update_cases();

/// A case with the traffic that its operands make compulsory, and the tolerance of its type.
[[nodiscard]] inline KernelCase kernel_case(std::string kernel, std::string shape, DType dtype,
                                            std::vector<Operand> operands) {
    KernelCase result;
    result.kernel = std::move(kernel);
    result.shape = std::move(shape);
    result.dtype = dtype;
    result.traffic = compulsory_traffic(operands);
    result.operands = std::move(operands);
    result.tolerance = dtype == DType::bfloat16 ? 1e-2 : 1e-5;
    return result;
}

}  // namespace expar
