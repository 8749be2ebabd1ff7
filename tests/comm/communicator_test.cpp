#include "expar/comm/communicator.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "expar/base/random.hpp"
#include "rows_of.hpp"

namespace expar {
namespace {

class CommunicatorTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    int me = world.rank();
    int ranks = world.size();
};

// Numbers of very different size: another order of additions gives other bits.
double term(int rank, std::size_t i) {
    const RandomField random(1, Purpose::test, std::uint32_t(rank));
    return random.normal(i) * std::pow(10.0, double(random.below(30, i)) - 15);
}

TEST_F(CommunicatorTest, SumsAreAddedInRankOrderBitForBit) {
    for (const std::size_t count : {1u, 3u, 1000u, 70'000u}) {  // the last in more than one piece
        std::vector<double> values(count), expected(count);
        for (std::size_t i = 0; i < count; ++i) {
            values[i] = term(me, i);
            expected[i] = term(0, i);
            for (int rank = 1; rank < ranks; ++rank) expected[i] += term(rank, i);
        }
        world.sum(std::span(values));
        for (std::size_t i = 0; i < count; ++i)
            ASSERT_EQ(std::bit_cast<std::uint64_t>(values[i]), std::bit_cast<std::uint64_t>(expected[i])) << i;
    }
}

TEST_F(CommunicatorTest, ASumKeepsTheSignOfZero) {
    double zero = -0.0;
    world.sum(std::span(&zero, 1));
    EXPECT_TRUE(std::signbit(zero));
}

TEST_F(CommunicatorTest, WholeNumbersAddAndCompare) {
    std::int64_t large = 1'000'000'000'000 + me;
    world.sum(std::span(&large, 1));
    EXPECT_EQ(large, 1'000'000'000'000 * ranks + ranks * (ranks - 1) / 2);
    std::vector<int> small = {me, -me, 7};
    world.sum(std::span(small));
    EXPECT_EQ(small, (std::vector{ranks * (ranks - 1) / 2, -ranks * (ranks - 1) / 2, 7 * ranks}));
    std::vector<int> highest = {me, -me};
    world.max(std::span(highest));
    EXPECT_EQ(highest, (std::vector{ranks - 1, 0}));
    double real = 0.5 * me;
    world.max(std::span(&real, 1));
    EXPECT_EQ(real, 0.5 * (ranks - 1));
}

TEST_F(CommunicatorTest, NothingToMoveIsLegal) {
    world.sum(std::span<double>());
    world.sum(std::span<std::int64_t>());
    world.max(std::span<int>());
    EXPECT_TRUE(world.all_gather(std::span<const int>()).empty());
    EXPECT_EQ(world.broadcast(std::string(), 0), "");
    world.broadcast(Rows(), 0);
    world.start_send(ConstRows(), 0).finish();
    world.start_receive(Rows(), 0).finish();
    world.start_all_gather(ConstRows(), Rows(), std::vector<int>(ranks, 0)).finish();
    world.barrier();
}

TEST_F(CommunicatorTest, AllGatherKeepsRankOrder) {
    const std::vector<int> mine = {me, 10 * me};
    std::vector<int> expected;
    for (int rank = 0; rank < ranks; ++rank) expected.insert(expected.end(), {rank, 10 * rank});
    EXPECT_EQ(world.all_gather(std::span(mine)), expected);
    const double real = me + 0.25;
    EXPECT_EQ(world.all_gather(std::span(&real, 1)).back(), ranks - 0.75);
}

TEST_F(CommunicatorTest, AllToAllTransposes) {
    std::vector<int> mine, expected;
    for (int rank = 0; rank < ranks; ++rank) {
        mine.push_back(100 * me + rank);
        expected.push_back(100 * rank + me);
    }
    EXPECT_EQ(world.all_to_all(std::span<const int>(mine)), expected);

    std::vector<int> pairs, expected_pairs;
    for (int rank = 0; rank < ranks; ++rank) {
        pairs.insert(pairs.end(), {100 * me + rank, -me});
        expected_pairs.insert(expected_pairs.end(), {100 * rank + me, -rank});
    }
    EXPECT_EQ(world.all_to_all(std::span<const int>(pairs)), expected_pairs);

    if (ranks == 1) return;
    mine.push_back(0);
    EXPECT_THROW((void)world.all_to_all(std::span<const int>(mine)), Error);
}

TEST_F(CommunicatorTest, BroadcastsRowsAndTextsFromAnyRoot) {
    for (int root = 0; root < ranks; ++root) {
        std::vector<float> values(6, float(me));
        world.broadcast(rows_of(values, 3), root);
        EXPECT_EQ(values, std::vector<float>(6, float(root)));
        const std::string text = world.broadcast(std::string(std::size_t(1000 * me), char('a' + me)), root);
        EXPECT_EQ(text, std::string(std::size_t(1000 * root), char('a' + root)));
    }
    std::vector<float> values(6);
    EXPECT_THROW(world.broadcast(rows_of(values, 3).columns(0, 2), 0), Error);
}

TEST_F(CommunicatorTest, GathersUnequalTexts) {
    const int root = ranks - 1;
    const auto texts = world.gather(std::string(std::size_t(3 * me), char('a' + me)), root);
    std::vector<std::string> expected;
    for (int rank = 0; me == root && rank < ranks; ++rank)
        expected.emplace_back(std::size_t(3 * rank), char('a' + rank));  // rank 0 has nothing to say
    EXPECT_EQ(texts, expected);
}

// Rank r has r rows, so that rank 0 has none, with no view at all.
TEST_F(CommunicatorTest, AllGatherTakesUnequalRowsAlsoInPlace) {
    const int cols = 3;
    std::vector<int> rows(ranks);
    std::iota(rows.begin(), rows.end(), 0);
    std::vector<double> mine, expected;
    for (int rank = 0; rank < ranks; ++rank)
        for (int i = 0; i < rank * cols; ++i) {
            expected.push_back(100 * rank + i);
            if (rank == me) mine.push_back(expected.back());
        }
    std::vector<double> all(expected.size(), -1), again = all;
    Transfer first =
        world.start_all_gather(me ? ConstRows(rows_of(mine, cols)) : ConstRows(), rows_of(all, cols), rows);
    const Rows place = rows_of(again, cols).slice(me * (me - 1) / 2, me);
    if (me > 0) std::copy(mine.begin(), mine.end(), static_cast<double*>(place.data()));
    Transfer second = world.start_all_gather(place, rows_of(again, cols), rows);
    second.finish();
    first.finish();
    EXPECT_EQ(all, expected);
    EXPECT_EQ(again, expected);

    rows.back() += 1;
    EXPECT_THROW((void)world.start_all_gather(rows_of(std::as_const(mine), cols), rows_of(all, cols), rows), Error);
}

TEST_F(CommunicatorTest, MessagesOfAPairKeepTheirOrder) {
    const int next = (me + 1) % ranks, previous = (me + ranks - 1) % ranks;
    std::vector<std::vector<float>> sent, received;
    std::vector<Transfer> open;
    for (int i = 0; i < 5; ++i) {
        sent.emplace_back(4, float(10 * me + i));
        received.emplace_back(4, -1.0f);
    }
    for (auto& values : received) open.push_back(world.start_receive(rows_of(values, 2), previous));
    for (const auto& values : sent) open.push_back(world.start_send(rows_of(values, 2), next));
    for (auto transfer = open.rbegin(); transfer != open.rend(); ++transfer) transfer->finish();
    for (int i = 0; i < 5; ++i) EXPECT_EQ(received[i], std::vector<float>(4, float(10 * previous + i)));
    EXPECT_THROW((void)world.start_send(rows_of(sent[0]), ranks), Error);
}

TEST_F(CommunicatorTest, SplitKeepsTheOrderOfRanks) {
    const Communicator part = world.split(me % 2);
    EXPECT_EQ(part.size(), (ranks + 1 - me % 2) / 2);
    EXPECT_EQ(part.rank(), me / 2);
    EXPECT_EQ(part.policy(), world.policy());
    int members = 1;
    part.sum(std::span(&members, 1));
    EXPECT_EQ(members, part.size());
    EXPECT_THROW((void)world.split(-1), Error);
}

TEST_F(CommunicatorTest, MessagesOfADuplicateDoNotMix) {
    const Communicator other = world.duplicate();
    const std::vector<int> first = {1}, second = {2};
    std::vector<int> here = {0}, there = {0};
    const int peer = ranks - 1 - me;
    Transfer open[] = {world.start_send(rows_of(first), peer), other.start_send(rows_of(second), peer),
                       other.start_receive(rows_of(there), peer), world.start_receive(rows_of(here), peer)};
    for (Transfer& transfer : open) transfer.finish();
    EXPECT_EQ(here[0], 1);
    EXPECT_EQ(there[0], 2);
}

TEST_F(CommunicatorTest, MovesItsMpiCommunicator) {
    Communicator first = world.duplicate();
    Communicator second = std::move(first);
    EXPECT_EQ(first.mpi(), MPI_COMM_NULL);
    first = std::move(second);
    EXPECT_EQ(first.rank(), me);
    EXPECT_EQ(first.size(), ranks);
    first.barrier();
}

// Even and odd ranks apart: what a line calls them is what the launcher calls them.
TEST_F(CommunicatorTest, RanksOfAGroupAreNamedAsInTheWorld) {
    const Communicator half = world.split(me % 2);
    EXPECT_EQ(half.world_rank(half.rank()), me);
    for (int rank = 0; rank < half.size(); ++rank) EXPECT_EQ(half.world_rank(rank), 2 * rank + me % 2);
    Communicator moved = world.split(0);
    moved = half.duplicate();
    EXPECT_EQ(moved.world_rank(0), me % 2);
}

// Rank 0 comes late, so that all others have given up; then it lets what they started come to its end.
TEST_F(CommunicatorTest, ACollectiveThatOneRankDoesNotEnterTimesOut) {
    if (ranks == 1) GTEST_SKIP() << "needs a peer";
    const Communicator impatient(MPI_COMM_WORLD, {.timeout_seconds = 0.3, .on_stuck_call = {}});
    std::vector<int> values = {1, 2, 3};
    if (me != 0) {
        try {
            impatient.sum(std::span(values), {"count", 4});
            FAIL() << "expected a TimeoutError";
        } catch (const TimeoutError& error) {
            const std::string line = error.what();
            EXPECT_EQ(line.find(concat("rank ", me, ": count, layer 4: waited 0.")), 0u) << line;
            EXPECT_NE(line.find(" s for all-reduce of 3 values; peers unknown"), std::string::npos) << line;
        }
    }
    world.barrier();
    const Communicator patient(MPI_COMM_WORLD);  // collective: nobody leaves while rank 0 waits for the others
    MPI_Request late = MPI_REQUEST_NULL;
    int sums[3];
    if (me == 0) MPI_Iallreduce(values.data(), sums, 3, MPI_INT, MPI_SUM, impatient.mpi(), &late);
    wait_all({&late, 1}, *world.policy(), {"test"}, me, [] { return "the others"; });
    patient.barrier();
    if (me == 0) {
        EXPECT_EQ(sums[2], 3 * ranks);
    }
}

}  // namespace
}  // namespace expar
