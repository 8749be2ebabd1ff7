#pragma once

#include "activation.hpp"
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
    row_kernels<Vector>,        activation_kernels<Vector>, parted_activation_kernels<Vector>,
    conversion_kernels<Vector>, norm_kernels<Vector>,       softmax_kernels<Vector>,
    rotation_kernels<Vector>,   update_kernels<Vector>,     product_kernels<Vector>,
};

}  // namespace expar
