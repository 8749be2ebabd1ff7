#pragma once

#include <array>
#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// Whether a result replaces what is there or is added to it.
enum class Write { assign, add };

/// Products of ragged groups of rows with one weight each, in the three forms that a linear map y = x wᵀ needs.
///
/// Group g is rows offsets[g] … offsets[g+1] of the tall matrices; offsets has one entry more than there are weights.
/// Rows are independent: a row's bits depend on that row and the weight alone, not on the rows beside it. Sums over
/// rows (weight_gradient) add consecutive blocks of block_rows rows, counted from the group's first, in order.
/// Groups may be empty. All matrices have one type; the weights of a call have one shape.
class MatrixProduct {
public:
    static constexpr int block_rows = 64;
    virtual ~MatrixProduct() = default;

    /// y[t] (+)= w[g] x[t].   x [T, K], w [N, K] each, y [T, N]
    virtual void forward(ConstRows x, std::span<const int> offsets, std::span<const ConstRows> w, Rows y, Write write,
                         Stream& stream) const = 0;
    /// dx[t] (+)= w[g]ᵀ dy[t].   dy [T, N], w [N, K] each, dx [T, K]
    virtual void input_gradient(ConstRows dy, std::span<const int> offsets, std::span<const ConstRows> w, Rows dx,
                                Write write, Stream& stream) const = 0;
    /// dw[g] += Σ_t dy[t] x[t]ᵀ over the group's rows.   dy [T, N], x [T, K], dw [N, K] each
    virtual void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw,
                                 Stream& stream) const = 0;

    // One group: an ordinary linear map.
    void forward(ConstRows x, ConstRows w, Rows y, Stream& stream, Write write = Write::assign) const {
        forward(x, std::array{0, x.rows()}, std::array{w}, y, write, stream);
    }
    void input_gradient(ConstRows dy, ConstRows w, Rows dx, Stream& stream, Write write = Write::assign) const {
        input_gradient(dy, std::array{0, dy.rows()}, std::array{w}, dx, write, stream);
    }
    void weight_gradient(ConstRows dy, ConstRows x, Rows dw, Stream& stream) const {
        weight_gradient(dy, x, std::array{0, x.rows()}, std::array{dw}, stream);
    }
};

}  // namespace expar
