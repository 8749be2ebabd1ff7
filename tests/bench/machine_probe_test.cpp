#include "expar/bench/machine_probe.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace expar {
namespace {

TEST(MachineProbe, MeasuresMemoryPatternsAndMessages) {
    const Communicator world(MPI_COMM_WORLD);
    MachineProbeOptions options;
    options.topology = discover_topology(world);
    options.patience = {.seconds = 0, .at_least = 2};
    options.top_k = {2};
    options.row_bytes = {512};
    options.bytes = std::size_t{4} << 20;
    options.make_device = make_reference_device;
    std::map<std::string, ProbeRow> rows;
    probe_machine(options, world, [&](const std::vector<ProbeRow>& group) {
        for (const ProbeRow& row : group) rows[row.pattern.substr(0, row.pattern.find(','))] = row;
    });
    for (const char* pattern :
         {"read", "write", "copy", "dispatch", "combine", "combine backward", "dispatch backward"}) {
        ASSERT_TRUE(rows.contains(pattern)) << pattern;
        EXPECT_GT(*rows[pattern].gb_per_second, 0) << pattern;
        EXPECT_LT(*rows[pattern].gb_per_second, 10000) << pattern;
        EXPECT_FALSE(rows[pattern].alpha_seconds.has_value()) << pattern;
    }
    EXPECT_GT(*rows["barrier"].alpha_seconds, 0);
    EXPECT_EQ(rows.contains("MPI_Alltoallv"), world.size() > 1);
    const ProbeRow& message = rows["message"];
    EXPECT_GE(message.time.median, 0.2 * message.alpha_seconds.value_or(0));
    // Every token is read once and stored twice, by each rank.
    EXPECT_EQ(rows["dispatch"].bytes, 512 * 4096 * 3);
}

}  // namespace
}  // namespace expar
