#include <algorithm>
#include <cmath>

#include "expar/compute/update.hpp"
#include "expar/train/clip.hpp"

namespace expar {

double GradientNorm::total() const {
    return std::sqrt(dense * dense + router * router + experts * experts);
}

// The norm of what this rank holds.
GradientNorm gradient_norm(Device& device, std::span<const std::unique_ptr<ParameterBlock>> held, const Placement&,
                           const Layout&, const Communicator&) {
    GradientNorm norm;
    for (const auto& block : held) {
        const double squares = device.update().sum_of_squares(block->flat_gradient(), device.stream());
        (block->spec().role == Role::expert ? norm.experts : norm.dense) += squares;
    }
    return {std::sqrt(norm.dense), 0, std::sqrt(norm.experts)};
}

double clip_factor(double norm, double limit) {
    return limit > 0 ? std::min(1.0, limit / norm) : 1;
}

}  // namespace expar
