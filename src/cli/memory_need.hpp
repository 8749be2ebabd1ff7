#pragma once

#include <cstdint>

#include "expar/compute/cpu_device.hpp"
#include "expar/model/model_options.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {

/// What training will need of one rank's memory, beside what the program has before a Trainer is made: experts and
/// tokens as on the rank that has most of them, rows at the experts as of the rank to which untrained routers are
/// expected to give most.
struct MemoryNeed {
    std::int64_t parameters_bytes = 0;   ///< values, gradients, moments and packed copies
    std::int64_t activations_bytes = 0;  ///< of one micro-batch, forward and backward, at their most
    std::int64_t exchange_bytes = 0;     ///< of other ranks' gradients
    std::int64_t program_bytes = 0;      ///< by which the program itself still grows

    [[nodiscard]] std::int64_t total_bytes() const {
        return parameters_bytes + activations_bytes + exchange_bytes + program_bytes;
    }
};

/// `model` must be resolved.
[[nodiscard]] MemoryNeed predict_memory(const ModelOptions& model, const TrainOptions& train, int ranks,
                                        InstructionSet set);

}  // namespace expar::cli
