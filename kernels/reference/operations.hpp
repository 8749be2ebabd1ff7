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

// One file of this folder each. Plain loops over elements; sums are made in float64 and rounded once, where the
// operation does not promise another order.
[[nodiscard]] std::unique_ptr<MatrixProduct> make_reference_product();
[[nodiscard]] std::unique_ptr<RowOperations> make_reference_rows();
[[nodiscard]] std::unique_ptr<RoutingOperations> make_reference_routing();
[[nodiscard]] std::unique_ptr<ActivationOperations> make_reference_activation();
[[nodiscard]] std::unique_ptr<NormOperations> make_reference_norm();
[[nodiscard]] std::unique_ptr<AttentionOperations> make_reference_attention();
[[nodiscard]] std::unique_ptr<LossOperations> make_reference_loss();
[[nodiscard]] std::unique_ptr<UpdateOperations> make_reference_update();

}  // namespace expar
