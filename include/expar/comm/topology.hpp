#pragma once

#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Which ranks share a node. A value.
struct Topology {
    std::vector<int> node_of;  ///< [R], nodes numbered by their lowest rank

    [[nodiscard]] int nodes() const;
    [[nodiscard]] std::vector<int> ranks_of(int node) const;
    [[nodiscard]] int leader_of(int node) const { return ranks_of(node).front(); }
};

/// Every `ranks_per_node` consecutive ranks on a node of their own; the last may have fewer. Throws UserError below 1.
[[nodiscard]] Topology topology_of(int ranks, int ranks_per_node);

/// Asks MPI which ranks share memory. Collective.
[[nodiscard]] Topology discover_topology(const Communicator& world);

}  // namespace expar
