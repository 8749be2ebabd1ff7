#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "expar/base/dtype.hpp"

namespace expar {

/// What rows may be of: "float32", or "bf16". Throws UserError for another name.
[[nodiscard]] DType row_dtype(std::string_view name);

/// How a run trains, beside the model's shape.
struct TrainOptions {
    int ep = 0;              ///< ranks of an EP group; 0: all ranks
    int ranks_per_node = 0;  ///< 0: as MPI says
    int sequence = 256;
    int batch = 8;           ///< sequences of one micro-batch over all ranks
    int accumulation = 1;    ///< micro-batches of a step
    int steps = 100;         ///< where the run stops
    int schedule_steps = 0;  ///< where the cosine ends; 0: steps. Stored; a longer run does not change it
    int warmup_steps = 20;
    std::uint64_t seed = 1;
    std::string optimizer = "adamw";  ///< adamw | sgd
    double learning_rate = 3e-3;
    double router_learning_rate_scale = 1;
    double final_fraction = 0.1;  ///< of the learning rate, at the end of the cosine
    double beta1 = 0.9;
    double beta2 = 0.95;
    double epsilon = 1e-8;
    double weight_decay = 0.1;
    double clip = 1;                    ///< largest norm of the gradient; 0: no limit
    std::string combine = "exact";      ///< see combine_orders
    std::string dispatcher = "packed";  ///< see dispatcher_kinds
    std::string exchange = "native";    ///< see exchange_kinds
    int chunks = 1;                     ///< in which the tokens of a layer travel; the same bits
    std::string placement = "linear";   ///< linear | shuffled
    std::string dtype = "float32";      ///< of rows, see row_dtype; parameters, gradients and moments are float32
    int threads = 1;
    std::string isa{};              ///< name of an InstructionSet; empty: the fastest
    bool overlap_gradients = true;  ///< they travel during backward, not after it; the same bits
    bool recompute = false;         ///< a layer keeps its input alone, and its forward runs again before its backward
    double timeout = 600;           ///< seconds that a rank waits for the others
    int checkpoint_every = 0;       ///< steps; 0: at the end alone

    /// Throws UserError, naming field, value and what was expected.
    void validate(int ranks) const;
};

}  // namespace expar
