#pragma once

#include <map>
#include <string>
#include <vector>

#include "expar/train/trainer.hpp"

namespace expar {

/// Every tensor of a model by name, whoever holds it.
using Tensors = std::map<std::string, std::vector<float>>;

/// What of a trainer's state is gathered, or set.
enum class Part { value, gradient, moment1, moment2 };

/// The whole model on rank 0, each block from the first rank that holds it; empty elsewhere. Collective.
[[nodiscard]] Tensors gather_tensors(Part part, const ModelOptions& model, Trainer& trainer, const Communicator& world);

/// Writes the tensors that this rank holds. Throws Error when one is missing. Local.
void set_tensors(Part part, const Tensors& tensors, Trainer& trainer);

/// Blocks whose values are not bit for bit the same on all ranks that hold them. Collective.
[[nodiscard]] int count_differing_copies(const ModelOptions& model, Trainer& trainer, const Communicator& world);

}  // namespace expar
