#pragma once

#include <cstdint>
#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// How the next token is drawn.
struct SamplerOptions {
    double temperature = 1;  ///< 0: the likeliest, ties to the lowest id
    int top_k = 0;           ///< draw among this many likeliest; 0: all
    double top_p = 1;        ///< draw among the likeliest that together have at least this probability
    std::uint64_t seed = 1;

    void validate() const;  ///< throws UserError, naming field, value and what was expected
};

/// The token that follows logits [1, V], drawn by (seed, position) alone. top_k is applied before top_p, both after the
/// temperature. Waits for the device.
[[nodiscard]] int sample(ConstRows logits, const SamplerOptions& options, std::uint64_t position, Device& device);

/// The same of logits in the host's memory. Throws Error when one is not finite.
[[nodiscard]] int sample(std::span<const double> logits, const SamplerOptions& options, std::uint64_t position);

}  // namespace expar
