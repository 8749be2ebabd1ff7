#pragma once

#include <memory>
#include <span>
#include <string>

#include "expar/comm/communicator.hpp"
#include "expar/model/transformer.hpp"

namespace expar {

/// Where the forward first went wrong, over all ranks: "layer 3 on rank 1 is the first with a value that is not".
/// For a loss that is not finite. Collective; the same text on every rank.
[[nodiscard]] std::string locate_in_forward(Device& device, const TransformerState& state, const Communicator& world);

/// The same for the gradients of `blocks`, all of this rank in the order of describe_blocks(): the first that backward
/// reaches.
[[nodiscard]] std::string locate_in_gradients(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks,
                                              const Communicator& world);

}  // namespace expar
