#include "expar/bench/allreduce_bench.hpp"

#include <gtest/gtest.h>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

// One block, several, and one that no number of ranks divides.
TEST(AllreduceBench, EverySumIsRight) {
    const Communicator world(MPI_COMM_WORLD);
    const AllreduceOptions options{.topology = discover_topology(world),
                                   .patience = {.seconds = 0, .at_least = 3},
                                   .make_device = [] { return make_cpu_device(1); }};
    for (const std::size_t bytes : {std::size_t(8), std::size_t(10'000), (std::size_t(5) << 19) + 8}) {
        const auto rows = bench_allreduce(bytes, options, world);
        ASSERT_EQ(rows.size(), 3u);
        EXPECT_EQ(rows[0].algorithm, "gradient_reducer");
        EXPECT_EQ(rows[2].algorithm, "MPI_Allreduce");
        for (const AllreduceRow& row : rows) {
            EXPECT_EQ(row.wrong_elements, 0) << row.algorithm << ", " << bytes << " bytes";
            EXPECT_EQ(row.bytes, std::int64_t(bytes));
            EXPECT_GE(row.time.iterations, 3);
            EXPECT_EQ(row.bound_seconds.has_value(), world.size() > 1);
            const double bus = 2.0 * (world.size() - 1) / world.size() * double(bytes) / row.time.median / 1e9;
            EXPECT_DOUBLE_EQ(row.bus_gb_per_second(), bus);
        }
    }
    EXPECT_THROW((void)bench_allreduce(12, options, world), Error);
}

TEST(AllreduceBench, ASlowLinkSetsTheBound) {
    const Communicator world(MPI_COMM_WORLD);
    if (world.size() == 1) GTEST_SKIP() << "one node";
    const AllreduceOptions options{.topology = topology_of(world.size(), 1),
                                   .link_bytes_per_second = 1,
                                   .patience = {.seconds = 0, .at_least = 3},
                                   .make_device = [] { return make_cpu_device(1); }};
    const double nodes = world.size();
    for (const AllreduceRow& row : bench_allreduce(800, options, world))
        EXPECT_DOUBLE_EQ(row.bound_seconds.value(), 2 * (nodes - 1) / nodes * 800);
}

}  // namespace
}  // namespace expar
