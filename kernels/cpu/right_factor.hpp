#pragma once

#include "expar/compute/matrix_product.hpp"

namespace expar {

/// A weight w [N, K] as the right factor of the two products that read it.
class RightFactor : public Weight {
public:
    enum class Form {
        transposed,  ///< wᵀ [K, N], of y = x wᵀ
        plain,       ///< w [N, K], of dx = dy w
    };

    using Weight::Weight;

    [[nodiscard]] int depth(Form form) const { return form == Form::plain ? values().rows() : values().cols(); }
    [[nodiscard]] int columns(Form form) const { return form == Form::plain ? values().cols() : values().rows(); }
};

}  // namespace expar
