#include "expar/train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace expar {

double learning_rate_at(int step, const TrainOptions& options) {
    if (step <= options.warmup_steps) return options.learning_rate * step / options.warmup_steps;
    const int end = options.schedule_steps > 0 ? options.schedule_steps : options.steps;
    if (step >= end) return options.learning_rate * options.final_fraction;
    const double passed = double(step - options.warmup_steps) / (end - options.warmup_steps);
    const double share = (1 + std::cos(std::numbers::pi * passed)) / 2;
    return options.learning_rate * (options.final_fraction + (1 - options.final_fraction) * share);
}

}  // namespace expar
