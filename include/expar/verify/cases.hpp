#pragma once

#include <functional>
#include <string>
#include <vector>

#include "expar/comm/layout.hpp"
#include "expar/model/micro_batch.hpp"
#include "expar/model/model_options.hpp"
#include "expar/moe/placement.hpp"
#include "expar/train/train_options.hpp"
#include "expar/train/trainer.hpp"

namespace expar {

/// What a case must be seen to have done, beside being computed right.
enum class Feature { none, uneven_experts, shuffled, empty_rank, drops, losses, clipping, shared_expert };

/// One thing that ranks can get wrong, as a model, its training and the batches that bring it about.
struct VerifyCase {
    std::string name;
    ModelOptions model;
    TrainOptions train;
    Feature feature = Feature::none;
    bool depends_on_layout = false;  ///< a scope is a rank: one rank would be right to differ

    /// Sequences of unequal length, drawn from (name's step, micro-batch): the whole micro-batch of all ranks.
    [[nodiscard]] MicroBatch batch(int step, int micro_batch, int ranks) const;
    [[nodiscard]] Placement placement(const Layout& layout) const;
    /// Why the layout has no place for the case; empty when it has.
    [[nodiscard]] std::string cannot_express(const Layout& layout) const;
    /// What should have acted in a step and did not; empty when it did. `tokens_of_rank` over all micro-batches.
    [[nodiscard]] std::string did_not_act(const StepReport& report, const Layout& layout,
                                          const std::vector<int>& tokens_of_rank) const;
};

inline constexpr int verify_steps = 3;
inline constexpr int verify_accumulation = 2;

[[nodiscard]] std::vector<VerifyCase> verify_cases();

}  // namespace expar
