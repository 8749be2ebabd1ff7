#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "expar/moe/dispatcher.hpp"
#include "support/random_routing.hpp"

namespace expar {
namespace {

constexpr int total_tokens = 97, experts = 11, top_k = 4, hidden = 3;

// Ranks of this node play several: so many on each.
class DispatcherHierarchicalTest : public testing::TestWithParam<int> {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_reference_device();
    Topology topology = topology_of(world.size(), GetParam());
    std::vector<int> first = unequal_runs(total_tokens, world.size());
    int own_first = first[world.rank()], own = first[world.rank() + 1] - own_first;
    Placement placement = shuffled_placement(1, experts, world.size(), 5);
    Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    std::unique_ptr<Dispatcher> dispatcher =
        make_dispatcher("hierarchical", concat("spread:ranks-per-node=", GetParam()), world, *device);

    [[nodiscard]] int node_of(int member) const { return topology.node_of[std::size_t(member)]; }
    [[nodiscard]] DispatchPlan plan(CombineOrder order) {
        return dispatcher->plan(routing, {&placement, 0, world.rank(), order, own_first});
    }
    // On this member's way to other nodes, ever.
    [[nodiscard]] std::int64_t crossed() const {
        std::int64_t rows = 0;
        for (int m = 0; m < world.size(); ++m)
            if (node_of(m) != node_of(world.rank())) rows += dispatcher->traffic().rows_to[std::size_t(m)];
        return rows;
    }
    [[nodiscard]] std::int64_t sum(std::int64_t rows) const {
        world.sum(std::span(&rows, 1));
        return rows;
    }
    // X1 and X2: distinct (token, rank) and (token, node) of this rank's tokens, elsewhere.
    struct Distinct {
        std::int64_t ranks = 0, nodes = 0;
    };
    [[nodiscard]] Distinct distinct_elsewhere() const {
        Distinct distinct;
        for (int t = 0; t < own; ++t) {
            std::set<int> ranks, nodes;
            for (const int expert : routing.experts_of(t))
                if (const int host = placement.host_for(0, expert, own_first + t);
                    node_of(host) != node_of(world.rank())) {
                    ranks.insert(host);
                    nodes.insert(node_of(host));
                }
            distinct.ranks += std::int64_t(ranks.size());
            distinct.nodes += std::int64_t(nodes.size());
        }
        return distinct;
    }
};

TEST_P(DispatcherHierarchicalTest, SendsARowOnceToANode) {
    const DispatchPlan made = plan(CombineOrder::exact);
    const auto planned = crossed();
    const LentRows rows = dispatcher->start_dispatch(made, x).finish();
    EXPECT_EQ(crossed() - planned, distinct_elsewhere().nodes);
    (void)dispatcher->start_combine_backward(made, x, rows).finish();
    EXPECT_EQ(crossed() - planned, 2 * distinct_elsewhere().nodes);
}

TEST_P(DispatcherHierarchicalTest, BringsHomeWhatTheOrderAsksFor) {
    const Distinct distinct = distinct_elsewhere();
    for (const auto& [order, expected] : {std::pair{CombineOrder::reduced, sum(distinct.ranks)},
                                          std::pair{CombineOrder::node_reduced, sum(distinct.nodes)}}) {
        const DispatchPlan made = plan(order);
        const LentRows rows = dispatcher->start_dispatch(made, x).finish();
        const auto dispatched = crossed();
        (void)dispatcher->start_combine(made, rows, routing.weights).finish();
        EXPECT_EQ(sum(crossed() - dispatched), expected) << name_of(order);
    }
}

// Between nodes, a rank passes on what a rank with its place on another node sends.
TEST_P(DispatcherHierarchicalTest, LetsTheRanksOfANodeShareTheForwarding) {
    const DispatchPlan made = plan(CombineOrder::exact);
    for (int m = 0; m < world.size(); ++m) {
        if (node_of(m) == node_of(world.rank()) || made.forwarding.empty()) continue;
        const int there = int(topology.ranks_of(node_of(m)).size());
        const bool partners = world.rank() % GetParam() % there == m % GetParam();
        if (!partners) {
            EXPECT_EQ(made.forwarding.first.send[std::size_t(m)], 0) << m;
        }
    }
}

TEST_P(DispatcherHierarchicalTest, IsPackedOnOneNode) {
    const auto alone = make_dispatcher("hierarchical", "native", world, *device);
    const DispatchPlan made = alone->plan(routing, {&placement, 0, world.rank(), CombineOrder::reduced, own_first});
    EXPECT_TRUE(made.forwarding.empty());
}

// Each rank finishes movements of all kinds in an order of its own.
TEST_P(DispatcherHierarchicalTest, FinishesInAnyOrderWhatAllStartedInOne) {
    const DispatchPlan made = plan(CombineOrder::node_reduced);
    const LentRows rows = dispatcher->start_dispatch(made, x).finish();
    const Matrix expected = dispatcher->start_combine(made, rows, routing.weights).finish();
    for (int round = 0; round < 20; ++round) {
        constexpr int open = 4;
        std::vector<Moving<LentRows>> out;
        std::vector<Moving<Matrix>> home;
        for (int i = 0; i < open; ++i) {
            out.push_back(dispatcher->start_dispatch(made, x));
            home.push_back(dispatcher->start_combine(made, rows, routing.weights));
        }
        for (int i = 0; i < open; ++i) {
            const auto at = std::size_t((i + world.rank() + round) % open);
            const auto finish_out = [&] {
                const LentRows again = out[at].finish();
                for (int r = 0; r < again.view().rows(); ++r)
                    EXPECT_TRUE(std::ranges::equal(again.view().row<double>(r), rows.view().row<double>(r)));
            };
            if (world.rank() % 2 == 0) finish_out();
            const Matrix y = home[at].finish();
            for (int t = 0; t < own; ++t)
                EXPECT_TRUE(std::ranges::equal(y.view().row<double>(t), expected.view().row<double>(t)));
            if (world.rank() % 2 == 1) finish_out();
        }
    }
}

INSTANTIATE_TEST_SUITE_P(RanksPerNode, DispatcherHierarchicalTest, testing::Values(1, 2, 3));

}  // namespace
}  // namespace expar
