#pragma once

#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// A shard of a gradient as each of its hosts has computed it, by ascending rank → the gradient of the whole step.
void sum_over_hosts(Device& device, std::span<const ConstRows> parts, Rows out);

}  // namespace expar
