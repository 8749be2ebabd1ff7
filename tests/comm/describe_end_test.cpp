#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "expar/comm/rank_status.hpp"

namespace expar {
namespace {

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// How a run of four ranks ended, the last heartbeat at 100 s.
class DescribeEndTest : public testing::Test {
protected:
    DescribeEndTest() {
        for (int rank = 0; rank < 4; ++rank) {
            auto& status = statuses.emplace_back();
            status.rank = rank;
            status.ranks = 4;
            status.process = 1000 + rank;
            status.host = "node";
            status.step = 7;
            status.phase = "experts";
            status.layer = 2;
            status.heartbeat = 100 - 0.01 * rank;
        }
    }
    void let_wait(int rank, const std::string& awaited) {
        statuses[rank].waiting = true;
        statuses[rank].waiting_phase = "dispatch";
        statuses[rank].waiting_layer = 2;
        statuses[rank].awaited = awaited;
    }
    [[nodiscard]] std::string line() const { return describe_end(statuses); }

    std::vector<StatusSnapshot> statuses;
};

TEST_F(DescribeEndTest, ARankKilledWhileItComputesIsNamedAndWhoWaitedForIt) {
    for (const int rank : {0, 2, 3}) let_wait(rank, "rank 1 (64 rows)");
    statuses[1].heartbeat = 98.5;
    EXPECT_EQ(line(),
              "rank 1 died 1.5 s before the others: step 7, experts, layer 2 (process 1001 on node); "
              "rank 0: step 7, waiting in dispatch, layer 2 for rank 1 (64 rows); "
              "rank 2: step 7, waiting in dispatch, layer 2 for rank 1 (64 rows); "
              "rank 3: step 7, waiting in dispatch, layer 2 for rank 1 (64 rows)");
}

TEST_F(DescribeEndTest, ARankKilledInsideAWaitIsNamed) {
    for (int rank = 0; rank < 4; ++rank) let_wait(rank, "all-to-all of 3 values; peers unknown");
    statuses[2].heartbeat = 99;
    EXPECT_EQ(line().rfind("rank 2 died 1.0 s before the others: step 7, waiting in dispatch, layer 2 for all-to", 0),
              0u)
        << line();
}

// A survivor that computes for long, and did not notice, is not taken for the dead.
TEST_F(DescribeEndTest, ARankThatDidNotWaitYetIsNotTheDead) {
    let_wait(0, "rank 3 (1 row)");
    statuses[3].heartbeat = 98;
    EXPECT_TRUE(contains(line(), "rank 3 died 2.0 s before the others")) << line();
    EXPECT_FALSE(contains(line(), "rank 1 died")) << line();
    EXPECT_TRUE(contains(line(), "rank 1: step 7, experts, layer 2")) << line();
}

TEST_F(DescribeEndTest, OfTwoKilledTheFirstComesFirst) {
    statuses[1].heartbeat = 98.8;
    statuses[3].heartbeat = 98.6;
    const auto first = line().find("rank 3 died 1.4 s"), second = line().find("rank 1 died 1.2 s");
    EXPECT_EQ(first, 0u) << line();
    EXPECT_NE(second, std::string::npos) << line();
}

// mpirun ends the others at once when several have died.
TEST_F(DescribeEndTest, WhoWasNotToldToEndDiedBefore) {
    let_wait(0, "rank 1 (9 rows)");
    statuses[0].end = statuses[2].end = RankEnd::terminated;
    EXPECT_TRUE(contains(line(), "rank 1 died 0.0 s before the others")) << line();
    EXPECT_TRUE(contains(line(), "rank 3 died 0.0 s before the others")) << line();
    EXPECT_FALSE(contains(line(), "rank 0 died")) << line();
    EXPECT_TRUE(contains(line(), "rank 0: step 7, waiting in dispatch, layer 2 for rank 1 (9 rows)")) << line();
}

TEST_F(DescribeEndTest, RanksKilledAtOnceAreNotTold) {
    EXPECT_EQ(line().rfind("4 of 4 ranks ended together, not as meant; rank 0: step 7, experts, layer 2; ", 0), 0u)
        << line();
}

TEST_F(DescribeEndTest, ARunThatEndedAsMeantSaysSo) {
    for (auto& status : statuses) status.end = RankEnd::clean;
    statuses[2].heartbeat = 80;
    EXPECT_EQ(line(), "all 4 ranks ended as meant, after step 7");
}

TEST_F(DescribeEndTest, RanksThatNeverBeganAreNamed) {
    statuses.pop_back();
    for (auto& status : statuses) status.end = RankEnd::clean;
    EXPECT_EQ(line(), "rank 3 never began");
    EXPECT_EQ(describe_end({}), "no rank has left a status: none had begun");
}

TEST_F(DescribeEndTest, ARankThatGaveUpSaysWhy) {
    statuses[2].end = RankEnd::failed;
    statuses[2].failure = "the loss is not finite";
    EXPECT_EQ(line(), "rank 2 gave up: the loss is not finite");
    statuses[0].heartbeat = 99;
    EXPECT_EQ(line().rfind("rank 0 died 1.0 s before the others", 0), 0u) << line();
    EXPECT_TRUE(contains(line(), "rank 2 gave up: the loss is not finite")) << line();
}

// At a hang the line was said already; the stopped rank, woken by the launcher's SIGCONT, may have beaten last.
TEST_F(DescribeEndTest, AfterADeadlineTheLineIsWhatTheRankSaid) {
    statuses[1].end = RankEnd::timed_out;
    statuses[1].failure = "rank 1: waited 3.0 s; rank 3 shows no sign of life for 2.9 s";
    statuses[0].heartbeat = 95;
    EXPECT_EQ(line(), statuses[1].failure);
}

TEST_F(DescribeEndTest, ManyRanksStayOneLine) {
    for (int rank = 4; rank < 1000; ++rank) {
        statuses.push_back(statuses.front());
        statuses.back().rank = rank;
    }
    for (auto& status : statuses) status.ranks = 100000;
    statuses[1].heartbeat = 90;
    EXPECT_LT(line().size(), 1000u);
    EXPECT_TRUE(contains(line(), " ranks more")) << line();
}

}  // namespace
}  // namespace expar
