#pragma once

#include <vector>

#include "expar/bench/kernel_case.hpp"

namespace expar {

/// The types of rows that kernels are measured with.
[[nodiscard]] std::vector<DType> kernel_dtypes();

/// Every kernel that a training step is made of, with rows of this type, on shapes as they occur in one.
///
/// Operations that an algorithm needs are counted as it is written: a product and a sum of one are two, any other
/// arithmetic one, and so is an exponential, a logarithm, a division or a root, whatever they are computed by: a bound
/// is never too high for it. Of attention, pairs that causality leaves; of its backward, five products (scores again).
[[nodiscard]] std::vector<KernelCase> kernel_cases(DType rows);

}  // namespace expar
