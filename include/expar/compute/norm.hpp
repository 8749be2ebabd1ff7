#pragma once

#include "expar/base/matrix.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {

/// Root mean square normalisation (Zhang and Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019):
/// y = x · rsqrt(mean(x²) + epsilon) · weight, over every `weight.cols()` consecutive columns, so that a row of heads
/// can be normalised head by head with one weight.
class NormOperations {
public:
    static constexpr int block_rows = 64;
    virtual ~NormOperations() = default;

    /// x, y [n, g C]; weight [1, C], inverse_rms [n, g], of the wide dtype
    virtual void forward(ConstRows x, ConstRows weight, double epsilon, Rows y, Rows inverse_rms,
                         Stream& stream) const = 0;

    /// What backward needs of forward.
    struct Saved {
        ConstRows x, weight, inverse_rms;
    };
    /// dx (+)= …, d_weight += … in the wide dtype, one block of block_rows rows after the other
    virtual void backward(const Saved& saved, ConstRows dy, Rows dx, Write write, Rows d_weight,
                          Stream& stream) const = 0;
};

}  // namespace expar
