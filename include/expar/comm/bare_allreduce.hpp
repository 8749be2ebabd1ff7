#pragma once

#include <span>

#include "expar/comm/communicator.hpp"

namespace expar {

/// One blocking MPI_Allreduce, as a program without this library calls it: what other sums are measured beside. Waits
/// without a deadline, for as long as MPI does. Collective.
void bare_allreduce(const Communicator& comm, std::span<float> values);

}  // namespace expar
