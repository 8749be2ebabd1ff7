#pragma once

#include "expar/bench/dense_peer.hpp"

namespace expar {

/// The library that this build found, or nothing. Of one process, the first call decides the instruction set.
[[nodiscard]] std::unique_ptr<DensePeer> make_dense_peer(int threads, InstructionSet set);

/// "oneDNN 2.6.3", or what is missing.
[[nodiscard]] std::string dense_peer_built_with();

}  // namespace expar
