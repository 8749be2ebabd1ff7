#include "expar/train/clip.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "expar/compute/update.hpp"

namespace expar {
namespace {

double sum_of_squares(Device& device, ParameterBlock& block) {
    double sum = 0;
    for (int i = 0; i < int(block.spec().tensors.size()); ++i)
        sum += device.update().sum_of_squares(block.gradient(i), device.stream());
    return sum;
}

}  // namespace

double GradientNorm::total() const {
    return std::sqrt(dense * dense + router * router + experts * experts);
}

GradientNorm gradient_norm(Device& device, std::span<const std::unique_ptr<ParameterBlock>> held,
                           const Placement& placement, const Layout& layout, const Communicator& world) {
    // One place per expert of the model, then one per block that every rank holds. Each place is filled by one rank, so
    // that the sum over ranks only tells the others: it rounds nothing, and no layout changes the order of adding.
    const std::size_t experts = std::size_t(placement.layers()) * std::size_t(placement.experts());
    std::vector<double> squares(experts);
    std::vector<Role> roles(experts, Role::expert);
    for (const auto& block : held) {
        const BlockSpec& spec = block->spec();
        if (spec.role == Role::expert) {
            const int counter = layout.rank_of(0, placement.hosts_of(spec.layer, spec.expert).front());
            const std::size_t place = std::size_t(spec.layer) * std::size_t(placement.experts()) + spec.expert;
            if (world.rank() == counter) squares[place] = sum_of_squares(device, *block);
        } else {
            const int counter = int((roles.size() - experts) % std::size_t(world.size()));
            roles.push_back(spec.role);
            squares.push_back(world.rank() == counter ? sum_of_squares(device, *block) : 0);
        }
    }
    world.sum(squares, {"norm of the gradient"});

    GradientNorm sums;
    for (std::size_t i = 0; i < squares.size(); ++i)
        (roles[i] == Role::expert ? sums.experts : roles[i] == Role::router ? sums.router : sums.dense) += squares[i];
    return {std::sqrt(sums.dense), std::sqrt(sums.router), std::sqrt(sums.experts)};
}

double clip_factor(double norm, double limit) {
    return limit > 0 ? std::min(1.0, limit / norm) : 1;
}

}  // namespace expar
