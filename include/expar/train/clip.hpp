#pragma once

#include <memory>
#include <span>

#include "expar/comm/communicator.hpp"
#include "expar/comm/layout.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// Norms of the whole model's gradient, every parameter once, each expert once.
struct GradientNorm {
    double dense = 0;
    double router = 0;
    double experts = 0;
    [[nodiscard]] double total() const;
};

/// From summed gradients: squares are summed in float64 per tensor and added in the order of describe_blocks(). An
/// expert is counted by the first of its hosts, in the first EP group. `held` are all blocks of this rank, in that
/// order. Collective; the same bits on every rank.
[[nodiscard]] GradientNorm gradient_norm(Device& device, std::span<const std::unique_ptr<ParameterBlock>> held,
                                         const Placement& placement, const Layout& layout, const Communicator& world);

/// min(1, limit / norm); 1 for limit 0.
[[nodiscard]] double clip_factor(double norm, double limit);

}  // namespace expar
