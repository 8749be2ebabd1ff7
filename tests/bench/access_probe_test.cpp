#include "expar/bench/access_probe.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace expar {
namespace {

constexpr int experts = 5, top_k = 3, area = 1;  // k is odd: a row merged with itself k times is the row

std::byte mark(int rank, int token) {
    return std::byte(1 + rank * 50 + token);
}

/// A probe on a routing of 13 tokens of every rank, whose rows are all of one byte each.
using Pass = AccessProbe::Pass;

class AccessProbeTest : public testing::TestWithParam<std::size_t> {
protected:
    AccessProbeTest() {
        const auto tokens = probe.tokens(area, Pass::forward);
        for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = mark(world.rank(), int(i / row_bytes));
    }
    // What every row here must hold, by where the tokens of all ranks go.
    [[nodiscard]] std::vector<std::byte> expected() const {
        std::vector<std::byte> rows(probe.served(area, Pass::forward).size());
        for (int rank = 0; rank < world.size(); ++rank) {
            const RowPlaces places = row_places(routed, rank);
            for (std::size_t i = 0; i < places.host.size(); ++i)
                if (places.host[i] == world.rank())
                    std::fill_n(rows.begin() + std::ptrdiff_t(places.row[i] * row_bytes), row_bytes,
                                mark(rank, int(i / top_k)));
        }
        return rows;
    }
    void everyone() const { world.barrier({"test"}); }

    Communicator world{MPI_COMM_WORLD};
    std::size_t row_bytes = GetParam();
    std::vector<RankRouting> all = make_workload("uniform", {world.size(), 13, experts, top_k}, 3)->routings(0);
    Placement placement = linear_placement(1, experts, world.size());
    RoutedLayer routed{all, &placement, 0};
    AccessProbe probe{world, discover_topology(world), row_places(routed, world.rank()), row_bytes, 2};
};

// Sums are exclusive ors, of an odd number of equal rows.
TEST_P(AccessProbeTest, TouchesWhatADispatcherMust) {
    constexpr std::byte gradient{0x5a};
    const auto with_gradient = [](std::span<const std::byte> rows) {
        std::vector<std::byte> sums(rows.begin(), rows.end());
        for (std::byte& sum : sums) sum ^= gradient;
        return sums;
    };
    const auto tokens = probe.tokens(area, Pass::forward);
    for (const Stores stores : {Stores::ordinary, Stores::past_caches}) {
        probe.move(RowMovement::dispatch, area, stores);
        everyone();
        EXPECT_TRUE(std::ranges::equal(probe.served(area, Pass::forward), expected()));
        EXPECT_TRUE(std::ranges::all_of(probe.served(0, Pass::forward), [](std::byte b) { return b == std::byte{}; }));
        everyone();
        probe.serve(area, Pass::forward);
        everyone();
        probe.move(RowMovement::combine, area, stores);
        EXPECT_TRUE(std::ranges::equal(probe.combined(area, Pass::forward), tokens));
        std::ranges::fill(probe.tokens(area, Pass::backward), gradient);
        probe.move(RowMovement::combine_backward, area, stores);
        everyone();
        EXPECT_TRUE(std::ranges::equal(probe.served(area, Pass::backward), with_gradient(expected())));
        everyone();
        probe.serve(area, Pass::backward);
        everyone();
        probe.move(RowMovement::dispatch_backward, area, stores);
        EXPECT_TRUE(std::ranges::equal(probe.combined(area, Pass::backward), with_gradient(tokens)));
        everyone();
    }
}

TEST_P(AccessProbeTest, CountsWhatItReadsAndWrites) {
    const auto row = std::int64_t(row_bytes);
    EXPECT_EQ(probe.bytes(RowMovement::dispatch), row * 13 * (1 + top_k));
    EXPECT_EQ(probe.bytes(RowMovement::combine), row * 13 * (1 + top_k));
    EXPECT_EQ(probe.bytes(RowMovement::combine_backward), row * 13 * (1 + 2 * top_k));
    EXPECT_EQ(probe.copy_bytes(), std::int64_t(2 * probe.served(area, Pass::forward).size()));
    everyone();
}

// Whole lines, and rows that are no multiple of a line or of a register.
INSTANTIATE_TEST_SUITE_P(RowBytes, AccessProbeTest, testing::Values(256, 96, 70));

// Where nodes are told apart, what is served elsewhere is served from own memory.
TEST(AccessProbe, StaysOnItsNode) {
    const Communicator world(MPI_COMM_WORLD);
    const auto all = make_workload("uniform", {world.size(), 9, experts, 2}, 4)->routings(0);
    const Placement placement = linear_placement(1, experts, world.size());
    const RowPlaces places = row_places({all, &placement, 0}, world.rank());
    AccessProbe probe(world, topology_of(world.size(), 1), places, 64, 1);
    probe.move(RowMovement::dispatch, 0, Stores::ordinary);
    EXPECT_EQ(probe.bytes(RowMovement::dispatch), 64 * 9 * (1 + 2));
    world.barrier({"test"});
}

}  // namespace
}  // namespace expar
