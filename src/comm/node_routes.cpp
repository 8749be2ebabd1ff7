#include "node_routes.hpp"

namespace expar {

NodeRoutes::NodeRoutes(const Topology& topology, int of_rank) : rank(of_rank), node(topology.node_of[of_rank]) {
    for (int n = 0; n < topology.nodes(); ++n) members.push_back(topology.ranks_of(n));
}

int NodeRoutes::agent(int here, int there) const {
    const auto& ranks = members[here];
    const int distance = (there - here - 1 + nodes()) % nodes();
    return ranks[distance % int(ranks.size())];
}

std::vector<int> NodeRoutes::partners_of(int of_rank) const {
    std::vector<int> partners;
    for (int other = 0; other < nodes(); ++other)
        if (other != node && agent(node, other) == of_rank) partners.push_back(other);
    return partners;
}

}  // namespace expar
