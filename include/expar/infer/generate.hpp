#pragma once

#include <functional>
#include <span>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/infer/sampler.hpp"
#include "expar/model/transformer.hpp"

namespace expar {

struct GenerateOptions {
    int tokens = 256;  ///< to append to the prompt
    /// Tokens that the model looks back on at most; 0: on all. When they are reached, the text goes on from the later
    /// half of them, whose keys and values are computed anew from position 0.
    int context = 0;
    SamplerOptions sampler{};

    void validate() const;  ///< throws UserError, naming field, value and what was expected
};

/// The tokens that a model appends to a prompt, the same on every rank, and at any number of ranks where the model
/// combines in the order `exact`.
///
/// Collective over `group`, the EP group of the model. Only its first member has tokens; the others serve their
/// experts. `appended` is called on every member for each token, as soon as it is known. Throws UserError for an empty
/// prompt, and for a token that the model does not know.
std::vector<int> generate(const Transformer& model, const Communicator& group, std::span<const int> prompt,
                          const GenerateOptions& options, const std::function<void(int token)>& appended = {});

}  // namespace expar
