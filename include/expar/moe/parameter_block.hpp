#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {

/// Who holds a block and who shares its gradient: dense and router blocks live on every rank, an expert on its hosts.
enum class Role { dense, router, expert };

/// One named matrix of a block. Vectors are matrices of one row.
struct TensorSpec {
    enum class Initial { normal, ones };
    std::string name;  ///< as in checkpoints, "layers.3.experts.17.up.weight"
    int rows = 0;
    int cols = 0;
    Initial initial = Initial::normal;
    double std = 0.02;  ///< of Initial::normal

    [[nodiscard]] std::size_t count() const { return std::size_t(rows) * std::size_t(cols); }
    [[nodiscard]] bool decays() const { return initial == Initial::normal; }  ///< matrices do, scales of norms do not
};

/// What a block is made of, whether this rank holds it or not.
struct BlockSpec {
    Role role = Role::dense;
    int layer = -1;   ///< -1: outside the layers
    int expert = -1;  ///< global id, for Role::expert
    std::vector<TensorSpec> tensors;

    [[nodiscard]] std::size_t count() const;
    [[nodiscard]] std::string name() const;  ///< the common start of its tensors' names
};

/// Parameters that are stored, reduced, updated and moved as one: contiguous values, contiguous gradients.
class ParameterBlock {
public:
    /// Throws Error when it has more elements than a row can.
    ParameterBlock(Device& device, DType dtype, BlockSpec spec);

    [[nodiscard]] const BlockSpec& spec() const { return spec_; }

    /// `tensors` consecutive tensors of equal width as one matrix, the first on top. Throws Error when they are not.
    [[nodiscard]] ConstRows value(int first, int tensors = 1) const;
    [[nodiscard]] Rows gradient(int first, int tensors = 1);
    /// The same matrix as products on rows of `dtype` read it, packed once per change. Valid as long as the block is.
    [[nodiscard]] Weight& weight(int first, int tensors, DType dtype);
    /// The whole block as one row.
    [[nodiscard]] ConstRows flat_value() const { return value_; }
    [[nodiscard]] Rows flat_gradient();
    /// Zero from here on. The memory is written by whoever needs it first, at best with more than zeros:
    /// views of it taken before are void.
    void clear_gradient();
    /// Whether the gradients of `tensors` are zero still, and may be written without being read.
    [[nodiscard]] bool gradient_is_clear(int first, int tensors) const;
    /// For writing every element: not zero any more.
    [[nodiscard]] Rows overwrite_gradient(int first, int tensors);
    /// For writing, before the block is used again: packed copies are stale from here on.
    [[nodiscard]] Rows change(int tensor);
    [[nodiscard]] Rows change_flat();
    /// Where tensor i starts, in elements of the flat block.
    [[nodiscard]] std::size_t offset(int tensor) const;

    /// Values from (seed, name, element) alone: the same on every rank and in every layout.
    void initialize(std::uint64_t seed);

private:
    // The products' reading of some consecutive tensors.
    struct Reading {
        int first, tensors;
        std::unique_ptr<Weight> weight;
    };

    template <class View>
    [[nodiscard]] View part(View flat, int first, int tensors) const;

    BlockSpec spec_;
    Matrix value_;     // [1, count]
    Matrix gradient_;  // [1, count]; what clear_ names is zero, whatever stands there
    std::vector<bool> clear_;
    std::vector<Reading> readings_;
};

}  // namespace expar
