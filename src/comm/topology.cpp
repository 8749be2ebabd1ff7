#include "expar/comm/topology.hpp"

#include <algorithm>

namespace expar {
namespace {

// The lowest rank of `world` on this rank's node.
int discover_leader(const Communicator& world) {
    MPI_Comm shared = MPI_COMM_NULL;
    {
        const StuckCallWatch watch(*world.policy(), {"topology"}, world.rank(), "MPI_Comm_split_type");
        check_mpi(MPI_Comm_split_type(world.mpi(), MPI_COMM_TYPE_SHARED, world.rank(), MPI_INFO_NULL, &shared),
                  "MPI_Comm_split_type");
    }
    const Communicator node(shared, *world.policy());
    check_mpi(MPI_Comm_free(&shared), "MPI_Comm_free");
    int leader = world.rank();
    node.broadcast(Rows(&leader, 1, 1, DType::int32), 0, {"topology"});
    return leader;
}

}  // namespace

int Topology::nodes() const {
    return node_of.empty() ? 0 : *std::ranges::max_element(node_of) + 1;
}

std::vector<int> Topology::ranks_of(int node) const {
    std::vector<int> ranks;
    for (int rank = 0; rank < int(node_of.size()); ++rank)
        if (node_of[rank] == node) ranks.push_back(rank);
    return ranks;
}

Topology topology_of(int ranks, int ranks_per_node) {
    if (ranks_per_node < 1)
        throw UserError(concat("topology: ", ranks_per_node, " ranks per node, expected at least 1"));
    Topology topology;
    for (int rank = 0; rank < ranks; ++rank) topology.node_of.push_back(rank / ranks_per_node);
    return topology;
}

Topology discover_topology(const Communicator& world) {
    const int mine = discover_leader(world);
    const std::vector<int> leader_of = world.all_gather(std::span(&mine, 1), {"topology"});

    // Leaders in ascending order are their nodes in the order of the lowest rank.
    std::vector<int> leaders = leader_of;
    std::ranges::sort(leaders);
    leaders.erase(std::ranges::unique(leaders).begin(), leaders.end());
    Topology topology;
    for (const int leader : leader_of)
        topology.node_of.push_back(int(std::ranges::lower_bound(leaders, leader) - leaders.begin()));
    return topology;
}

}  // namespace expar
