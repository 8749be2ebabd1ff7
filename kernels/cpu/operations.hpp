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
#include "pair_kernels.hpp"
#include "threads.hpp"
#include "vector_kernels.hpp"

namespace expar {

/// What the operations of one device share. Outlives them.
struct CpuContext {
    const Threads& threads;
    const VectorKernels& kernels;
    const PairKernels* pairs;  ///< null where no instruction multiplies bfloat16
};

// One file of this folder each, on float32 and, where rows may be, bfloat16.
[[nodiscard]] std::unique_ptr<MatrixProduct> make_cpu_product(CpuContext context);
[[nodiscard]] std::unique_ptr<RowOperations> make_cpu_rows(CpuContext context);
[[nodiscard]] std::unique_ptr<RoutingOperations> make_cpu_routing(CpuContext context);
[[nodiscard]] std::unique_ptr<ActivationOperations> make_cpu_activation(CpuContext context);
[[nodiscard]] std::unique_ptr<NormOperations> make_cpu_norm(CpuContext context);
[[nodiscard]] std::unique_ptr<AttentionOperations> make_cpu_attention(CpuContext context);
[[nodiscard]] std::unique_ptr<LossOperations> make_cpu_loss(CpuContext context);
[[nodiscard]] std::unique_ptr<UpdateOperations> make_cpu_update(CpuContext context);

/// Products with weights of bfloat16, and of rows of it. Needs context.pairs; with a gate, activations of whole panels.
[[nodiscard]] std::unique_ptr<MatrixProduct> make_pair_product(CpuContext context);

}  // namespace expar
