#pragma once

#include <memory>
#include <span>
#include <vector>

#include "expar/moe/parameter_block.hpp"
#include "expar/train/train_options.hpp"

namespace expar {

/// Learning rate of step 1, 2, …: linear warm-up, then a cosine to final_fraction at schedule_steps, constant after it.
[[nodiscard]] double learning_rate_at(int step, const TrainOptions& options);

/// Moments of one block.
struct Moments {
    Matrix first, second;  ///< [1, count]; second empty for sgd, first too
};

/// Updates the blocks of a rank from their summed gradients. Local.
class Optimizer {
public:
    /// Blocks must outlive it. Throws UserError for an unknown name in options.optimizer.
    Optimizer(Device& device, const TrainOptions& options, std::span<const std::unique_ptr<ParameterBlock>> blocks);

    /// Step is counted from 1. gradient_scale is the clip factor.
    void update(int step, double gradient_scale);

    [[nodiscard]] Moments& moments(int block) { return moments_[block]; }

private:
    void update_block(ParameterBlock& block, Moments& moments, int step, double gradient_scale) const;

    Device& device_;
    TrainOptions options_;
    std::vector<ParameterBlock*> blocks_;
    std::vector<Moments> moments_;
};

}  // namespace expar
