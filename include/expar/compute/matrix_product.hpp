#pragma once

#include <array>
#include <memory>
#include <span>

#include "expar/base/matrix.hpp"
#include "expar/compute/activation.hpp"

namespace expar {

/// Whether a result replaces what is there or is added to it.
enum class Write { assign, add };

/// A weight w [N, K] of linear maps y = x wᵀ, as the products of one device read it: in packed copies, each made when a
/// product first needs it after changed(), in memory that is kept.
class Weight {
public:
    /// Refers to `values`, whose memory must outlive it. Rows of `dtype` are multiplied: bfloat16 also rounds the
    /// weight.
    Weight(ConstRows values, DType dtype) : values_(values), dtype_(dtype) {}
    virtual ~Weight() = default;
    Weight(const Weight&) = delete;
    Weight& operator=(const Weight&) = delete;

    [[nodiscard]] ConstRows values() const { return values_; }
    [[nodiscard]] DType dtype() const { return dtype_; }
    /// The values are other ones now.
    virtual void changed() = 0;

private:
    ConstRows values_;
    DType dtype_;
};

/// Ragged groups of rows and the weight of each: group g is rows offsets[g] … offsets[g+1], perhaps none.
struct RowGroups {
    ConstRows rows;                    ///< [T, …]
    std::span<const int> offsets;      ///< one entry more than there are weights
    std::span<Weight* const> weights;  ///< of one shape and dtype, made by the same device
};

/// Products of ragged groups of rows with one weight each, in the three forms that a linear map y = x wᵀ needs.
///
/// Rows are independent: a row's bits depend on that row and the weight alone, not on the rows beside it. Sums over
/// rows (weight_gradient) add the rows of a group in their order. A sum is kept in wide(its rows' dtype) and rounded
/// once when it is written; what is written may be of either dtype.
class MatrixProduct {
public:
    virtual ~MatrixProduct() = default;

    [[nodiscard]] virtual std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const = 0;

    /// y[t] (+)= w[g] x[t].   x [T, K], w [N, K] each, y [T, N]
    virtual void forward(const RowGroups& x, Rows y, Write write, Stream& stream) const = 0;
    /// dx[t] (+)= w[g]ᵀ dy[t].   dy [T, N], w [N, K] each, dx [T, K]
    virtual void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream& stream) const = 0;
    /// dw[g] (+)= Σ_t dy[t] x[t]ᵀ over the group's rows.   dy [T, N], x [T, K], dw [N, K] each
    virtual void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw,
                                 Write write, Stream& stream) const = 0;

    /// inner[t] = w[g] x[t] and activated[t] = f(inner[t] as it is stored).   inner [T, N], activated [T, I], of one
    /// dtype
    virtual void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                                   Stream& stream) const = 0;
    /// The way back through a weight w [N, I] and the activation before it: of d_activated[t] = w[g]ᵀ dy[t], which is
    /// not stored, d_inner in the place of inner, and activated[t] = f(inner[t]) once more, for w's own gradient.
    virtual void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                          Stream& stream) const = 0;

    // One group: an ordinary linear map.
    void forward(ConstRows x, Weight& w, Rows y, Stream& stream, Write write = Write::assign) const {
        forward({x, std::array{0, x.rows()}, std::array{&w}}, y, write, stream);
    }
    void input_gradient(ConstRows dy, Weight& w, Rows dx, Stream& stream, Write write = Write::assign) const {
        input_gradient({dy, std::array{0, dy.rows()}, std::array{&w}}, dx, write, stream);
    }
    void weight_gradient(ConstRows dy, ConstRows x, Rows dw, Stream& stream, Write write = Write::add) const {
        weight_gradient(dy, x, std::array{0, x.rows()}, std::array{dw}, write, stream);
    }
};

}  // namespace expar
