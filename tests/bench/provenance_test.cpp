#include "expar/bench/provenance.hpp"

#include <gtest/gtest.h>

namespace expar {
namespace {

TEST(Provenance, NamesWhereAndHow) {
    const Communicator world(MPI_COMM_WORLD);
    const Cells facts = provenance_of({.version = "1.2", .commit = "abc", .command = "bench", .instruction_set = "x"},
                                      topology_of(world.size(), 2), world);
    if (world.rank() != 0) {
        EXPECT_TRUE(facts.empty());
        return;
    }
    EXPECT_EQ(value_of(facts, "version"), CellValue(std::string("1.2")));
    EXPECT_EQ(value_of(facts, "commit"), CellValue(std::string("abc")));
    EXPECT_EQ(value_of(facts, "ranks"), CellValue(std::int64_t(world.size())));
    EXPECT_EQ(value_of(facts, "nodes"), CellValue(std::int64_t((world.size() + 1) / 2)));
    for (const char* key : {"hosts", "cpu", "mpi", "binding", "time"})
        EXPECT_FALSE(std::get<std::string>(value_of(facts, key)).empty()) << key;
}

TEST(Provenance, KeepsTheSettingsThatUsersMake) {
    const std::vector<std::string> environment = {"UCX_TLS=sm", "PATH=/bin", "OMPI_MCA_btl=^tcp",
                                                  "OMPI_MCA_orte_ess_num_procs=2", "OMPI_COMM_WORLD_RANK=0"};
    EXPECT_EQ(mpi_settings(environment), "OMPI_MCA_btl=^tcp; UCX_TLS=sm");
    EXPECT_EQ(mpi_settings({}), "");
}

TEST(Provenance, WarnsOfRanksThatShareCores) {
    EXPECT_EQ(crowding_note(2, 2), "");
    EXPECT_EQ(crowding_note(3, 2).find("warning: 3 ranks share 2 cores"), 0U);
}

}  // namespace
}  // namespace expar
