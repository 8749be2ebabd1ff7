#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/moe/moe_layer.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

// Everywhere below `options` must be resolved.

/// The options of one layer's experts. Throws UserError for an unknown name.
[[nodiscard]] MoeOptions moe_options(const ModelOptions& options, CombineOrder order);

/// Every block of the model, hosted here or not, in the order that all ranks agree on: embedding, then layer by layer
/// attention (with both norms), and router, shared expert, experts, or the dense network; final norm; head if untied.
[[nodiscard]] std::vector<BlockSpec> describe_blocks(const ModelOptions& options);

/// The blocks that one rank holds: all dense ones and the experts that its place in the EP group hosts.
class Parameters {
public:
    /// placement: one layer for each of the model's, with experts or without
    Parameters(Device& device, DType dtype, const ModelOptions& options, const Placement& placement, int member);

    [[nodiscard]] DType dtype() const { return dtype_; }
    /// In the order of describe_blocks().
    [[nodiscard]] std::span<const std::unique_ptr<ParameterBlock>> blocks() const { return blocks_; }
    /// The blocks of one layer (-1: embedding, final norm, head), in order.
    [[nodiscard]] std::vector<ParameterBlock*> of_layer(int layer) const;
    void initialize(std::uint64_t seed);
    void clear_gradients();

private:
    Device& device_;
    DType dtype_;
    std::vector<std::unique_ptr<ParameterBlock>> blocks_;
};

}  // namespace expar
