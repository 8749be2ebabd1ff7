#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_math.hpp"

namespace expar {

/// The number of elements of every parameter of a model, by its name in checkpoints; `options` must be resolved.
[[nodiscard]] std::map<std::string, std::size_t> plain_parameter_sizes(const ModelOptions& options);

/// Throws Error, naming the parameter, unless `weights` holds exactly those of the model.
void plain_check_weights(const ModelOptions& options, const PlainWeights& weights);

/// A zero for every element of `weights`.
[[nodiscard]] PlainWeights plain_zeros(const PlainWeights& weights);

}  // namespace expar
