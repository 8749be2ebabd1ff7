#pragma once

#include <vector>

#include "expar/comm/topology.hpp"

namespace expar {

/// Who carries what between nodes, as one rank sees it. A value; makes no MPI call.
struct NodeRoutes {
    int rank = 0;
    int node = 0;                           ///< of this rank
    std::vector<std::vector<int>> members;  ///< [N], the ranks of each node, ascending

    NodeRoutes(const Topology& topology, int of_rank);

    [[nodiscard]] int nodes() const { return int(members.size()); }
    [[nodiscard]] const std::vector<int>& neighbours() const { return members[node]; }
    /// The rank of `here` that sends to node `there` and receives from it; partners are dealt to a node's ranks in
    /// turn.
    [[nodiscard]] int agent(int here, int there) const;
    /// The nodes that `of_rank`, of this rank's node, is agent for, ascending.
    [[nodiscard]] std::vector<int> partners_of(int of_rank) const;
};

}  // namespace expar
