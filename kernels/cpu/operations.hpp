#pragma once

#include <memory>

#include "expar/compute/activation.hpp"
#include "expar/compute/attention.hpp"
#include "expar/compute/loss.hpp"
#include "expar/compute/matrix_product.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/routing.hpp"
#include "expar/compute/rows.hpp"
#include "expar/compute/update.hpp"

namespace expar {

// One file of this folder each; float32 alone, on `threads` threads.
[[nodiscard]] std::unique_ptr<MatrixProduct> make_cpu_product(int threads);

}  // namespace expar
