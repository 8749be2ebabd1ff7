#pragma once

#include <memory>
#include <span>
#include <vector>

#include "expar/compute/update.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/train/train_options.hpp"

namespace expar {

/// Running means that AdamW keeps of one block: of its gradient, and of the gradient's square.
struct Moments {
    Matrix first, second;  ///< [1, count], zero at first; no elements under sgd
};

/// Updates the blocks of a rank from their summed gradients. Local.
///
/// `adamw`, or plain `sgd`: both subtract learning rate · (direction + weight decay · value). Decay acts where
/// TensorSpec::decays(); router blocks have learning_rate · router_learning_rate_scale.
class Optimizer {
public:
    /// Blocks must outlive it. Throws UserError for an unknown name in options.optimizer.
    Optimizer(Device& device, const TrainOptions& options, std::span<const std::unique_ptr<ParameterBlock>> blocks);

    /// Step is counted from 1. gradient_scale is the clip factor.
    void update(int step, double gradient_scale);

    /// Of the block at this place in what was given at construction.
    [[nodiscard]] Moments& moments(int block) { return moments_[block]; }

private:
    enum class Kind { adamw, sgd };
    void update_block(ParameterBlock& block, Moments& moments, const AdamW& step) const;

    Device& device_;
    Kind kind_;
    TrainOptions options_;
    std::vector<ParameterBlock*> blocks_;
    std::vector<Moments> moments_;
};

}  // namespace expar
