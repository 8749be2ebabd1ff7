#include "expar/comm/cpu_places.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace expar {
namespace {

using Bound = Launch::Bound;
using Outcome = CpuPlan::Outcome;
const std::vector<int> four = {0, 1, 2, 3};

struct Case {
    std::vector<Launch> ranks;
    std::vector<int> node;
    int threads;
    Outcome outcome;
};

class CpuPlacesTest : public testing::TestWithParam<Case> {};

TEST_P(CpuPlacesTest, GivesEveryThreadACpuOrSaysThatItCannot) {
    const Case& c = GetParam();
    const CpuPlan plan = plan_cpus(c.ranks, c.node, c.threads);
    EXPECT_EQ(plan.outcome, c.outcome);
    const bool placed = c.outcome == Outcome::pinned || c.outcome == Outcome::widened;
    ASSERT_EQ(plan.cpus_of.size(), placed ? c.ranks.size() : 0);
    std::set<int> taken;
    for (std::size_t rank = 0; rank < plan.cpus_of.size(); ++rank) {
        EXPECT_EQ(plan.cpus_of[rank].size(), std::size_t(c.threads));
        const auto& allowed = c.outcome == Outcome::pinned ? c.ranks[rank].cpus : c.node;
        for (const int cpu : plan.cpus_of[rank]) {
            EXPECT_TRUE(taken.insert(cpu).second) << "two threads on CPU " << cpu;
            EXPECT_TRUE(std::ranges::find(allowed, cpu) != allowed.end()) << cpu;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Launches, CpuPlacesTest,
                         testing::Values(
                             // mpirun binds one or two ranks to a core each
                             Case{{{{0}, Bound::by_default}}, four, 1, Outcome::pinned},
                             Case{{{{0}, Bound::by_default}}, four, 2, Outcome::widened},
                             Case{{{{0}, Bound::by_default}, {{1}, Bound::by_default}}, four, 2, Outcome::widened},
                             Case{{{{0}, Bound::by_default}, {{1}, Bound::by_default}}, four, 3, Outcome::crowded},
                             // and more of them to a socket, which they share
                             Case{{{four, Bound::by_default}, {four, Bound::by_default}, {four, Bound::by_default}},
                                  four,
                                  1,
                                  Outcome::pinned},
                             Case{{{four, Bound::by_default}, {four, Bound::by_default}, {four, Bound::by_default}},
                                  four,
                                  2,
                                  Outcome::crowded},
                             // what the user asked for stays
                             Case{{{{0}, Bound::by_user}}, four, 2, Outcome::crowded},
                             Case{{{{2, 3}, Bound::by_user}, {{0, 1}, Bound::by_user}}, four, 2, Outcome::pinned},
                             Case{{{{0}, Bound::by_default}, {{1}, Bound::by_user}}, four, 2, Outcome::crowded},
                             // nobody bound: pinned when the CPUs are filled
                             Case{{{four, Bound::no}}, four, 4, Outcome::pinned},
                             Case{{{four, Bound::no}, {four, Bound::no}}, four, 2, Outcome::pinned},
                             Case{{{four, Bound::no}}, four, 3, Outcome::free},
                             Case{{{four, Bound::no}, {four, Bound::no}}, four, 3, Outcome::crowded}));

TEST(CpuPlaces, TakesTheFirstCpusOfTheOrder) {
    const std::vector<Launch> ranks = {{{0, 2, 1, 3}, Bound::by_default}, {{0, 2, 1, 3}, Bound::by_default}};
    EXPECT_EQ(plan_cpus(ranks, four, 1).cpus_of, (std::vector<std::vector<int>>{{0}, {2}}));
}

TEST(CpuPlaces, AreThoseOfALauncherUnderEachOfItsNames) {
    for (const char* name : {"mpirun", "mpirun.openmpi", "mpiexec.openmpi", "orterun", "prterun", "orted", "prted"})
        EXPECT_TRUE(starts_ranks(name)) << name;
    for (const char* name : {"", ".openmpi", "mpirunner", "bash", "expar"}) EXPECT_FALSE(starts_ranks(name)) << name;
}

TEST(CpuPlaces, AreWrittenAsRanges) {
    EXPECT_EQ(text_of_cpus({}), "");
    EXPECT_EQ(text_of_cpus(std::vector{0, 1, 2, 5, 7, 8}), "0-2,5,7-8");
}

TEST(CpuPlaces, OfThisRankAreItsOwnAndDistinct) {
    const Communicator world(MPI_COMM_WORLD);
    const auto before = own_cpus();
    EXPECT_FALSE(before.empty());
    const ThreadPlaces places = place_threads(1, world);
    if (!places.cpus.empty()) {
        EXPECT_TRUE(std::ranges::find(before, places.cpus.front()) != before.end());
    }
    EXPECT_TRUE(place_threads(10000, world).cpus.empty());
    EXPECT_NE(place_threads(10000, world).note.find("10000 threads each share"), std::string::npos);
}

}  // namespace
}  // namespace expar
