#include "expar/comm/topology.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace expar {
namespace {

TEST(TopologyTest, TheLastNodeMayHaveFewerRanks) {
    const Topology topology = topology_of(6, 4);
    EXPECT_EQ(topology.node_of, (std::vector{0, 0, 0, 0, 1, 1}));
    EXPECT_EQ(topology.nodes(), 2);
    EXPECT_EQ(topology.ranks_of(1), (std::vector{4, 5}));
    EXPECT_EQ(topology.leader_of(1), 4);
}

TEST(TopologyTest, NodesShareTheRanksBetweenThem) {
    for (int ranks = 1; ranks <= 9; ++ranks)
        for (int per_node = 1; per_node <= 10; ++per_node) {
            const Topology topology = topology_of(ranks, per_node);
            std::vector<int> all;
            for (int node = 0; node < topology.nodes(); ++node)
                for (const int rank : topology.ranks_of(node)) all.push_back(rank);
            EXPECT_EQ(int(all.size()), ranks);
            EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
        }
}

TEST(TopologyTest, RanksOfANodeNeedNotBeConsecutive) {
    const Topology topology{{0, 1, 0, 1, 2}};
    EXPECT_EQ(topology.nodes(), 3);
    EXPECT_EQ(topology.ranks_of(0), (std::vector{0, 2}));
    EXPECT_EQ(topology.leader_of(1), 1);
}

TEST(TopologyTest, RefusesNodesWithoutRanks) {
    EXPECT_THROW((void)topology_of(4, 0), UserError);
}

// These tests run on one machine.
TEST(TopologyTest, DiscoversThatAllRanksShareThisNode) {
    const Communicator world(MPI_COMM_WORLD);
    const Topology topology = discover_topology(world);
    EXPECT_EQ(topology.node_of, std::vector<int>(world.size(), 0));
}

TEST(TopologyTest, DiscoversTheNodesOfAPartOfTheWorld) {
    const Communicator world(MPI_COMM_WORLD);
    const Communicator part = world.split(world.rank() % 2);
    EXPECT_EQ(discover_topology(part).node_of, std::vector<int>(part.size(), 0));
}

}  // namespace
}  // namespace expar
