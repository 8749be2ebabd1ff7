#pragma once

#include "activation.hpp"
#include "attention.hpp"
#include "conversion.hpp"
#include "norm.hpp"
#include "product.hpp"
#include "rotation.hpp"
#include "rows.hpp"
#include "softmax.hpp"
#include "update.hpp"

namespace expar {

template <class Vector>
constexpr VectorKernels vector_kernels = {
    {row_kernels<Vector, float>, row_kernels<Vector, bfloat16>},
    activation_kernels<Vector>,
    parted_activation_kernels<Vector>,
    conversion_kernels<Vector>,
    {norm_kernels<Vector, float>, norm_kernels<Vector, bfloat16>},
    softmax_kernels<Vector>,
    {loss_kernels<Vector, float>, loss_kernels<Vector, bfloat16>},
    {rotation_kernels<Vector, float>, rotation_kernels<Vector, bfloat16>},
    update_kernels<Vector>,
    product_kernels<Vector>,
    attention_kernels<Vector>,
};

}  // namespace expar
