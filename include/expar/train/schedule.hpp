#pragma once

#include "expar/train/train_options.hpp"

namespace expar {

/// Learning rate of step 1, 2, …: linear warm-up from learning_rate / warmup_steps, then a cosine down to
/// final_fraction of it at schedule_steps, constant after that.
[[nodiscard]] double learning_rate_at(int step, const TrainOptions& options);

}  // namespace expar
