#include "expar/comm/exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <numeric>

#include "exchange_case.hpp"
#include "expar/base/names.hpp"
#include "expar/base/random.hpp"

namespace expar {
namespace {

using Case = ExchangeCase;

// Every kind as it is by default, and those with options where these change what happens.
std::vector<std::string> specifications() {
    std::vector<std::string> all = exchange_names();
    all.insert(all.end(), {"spread:open=1:message=1k", "spread:open=3:message=100", "spread:flight=1:message=1k",
                           "node:ranks-per-node=1", "node:ranks-per-node=2", "node:ranks-per-node=3:open=1:message=1k",
                           "bruck:open=1:message=1k"});
    return all;
}

class ExchangeTest : public testing::TestWithParam<std::string> {
protected:
    Communicator world{MPI_COMM_WORLD};
    int me = world.rank();
    int ranks = world.size();
    std::unique_ptr<Exchange> exchange = make_exchange(GetParam(), world);
    ExchangeKind kind = entry_named(exchange_kinds, "exchange", parse_exchange(GetParam(), ranks).kind);
    bool has_options = GetParam() != kind.name;
};

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest, testing::ValuesIn(specifications()), [](const auto& info) {
    std::string name = info.param;
    std::ranges::replace_if(
        name, [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
});

// Rank s sends s + 2d rows to rank d, so that one pair exchanges nothing and no count matches by luck.
TEST_P(ExchangeTest, DeliversEveryRowOnceInSourceOrder) {
    Case rows(world, 3, [](int from, int to) { return from + 2 * to; });
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
}

TEST_P(ExchangeTest, DeliversUnevenCountsWithManyZeros) {
    for (int seed = 0; seed < 20; ++seed) {
        Case rows(world, 1 + seed, random_counts(seed));
        rows.start(*exchange).finish();
        ASSERT_EQ(rows.received, rows.expected) << "seed " << seed;
    }
}

// Equal shapes, so that rows of one transfer could be taken for those of another; two objects, used in turn.
TEST_P(ExchangeTest, SeveralTransfersFinishInReverseOrder) {
    const auto other = make_exchange(GetParam(), world);
    std::vector<Case> cases;
    for (int i = 0; i < 8; ++i) {
        cases.emplace_back(world, 4, [](int from, int to) { return 1 + from + to; });
        for (int& value : cases.back().sent) value += i << 24;
        for (int& value : cases.back().expected) value += i << 24;
    }
    std::vector<Transfer> open;
    for (int i = 0; i < 8; ++i) open.push_back(cases[i].start(i % 3 == 0 ? *other : *exchange));
    for (int i = 7; i >= 0; --i) open[i].finish();
    for (int i = 0; i < 8; ++i) EXPECT_EQ(cases[i].received, cases[i].expected) << i;
}

TEST_P(ExchangeTest, ProgressFinishesATransferWithoutWaiting) {
    Case rows(world, 300, random_counts(3));
    Transfer transfer = rows.start(*exchange);
    while (!transfer.progress()) {
    }
    EXPECT_EQ(rows.received, rows.expected);
}

TEST_P(ExchangeTest, NoRowsAtAllIsLegal) {
    const RowCounts none{std::vector<int>(ranks, 0), std::vector<int>(ranks, 0)};
    exchange->start(ConstRows(), Rows(), none, {"exchange"}).finish();
    Case empty(world, 5, [](int, int) { return 0; });
    empty.start(*exchange).finish();
    EXPECT_EQ(exchange->traffic().total_rows(), 0);
    if (!kind.direct) return;  // those that others carry rows for are told that there are none
    EXPECT_EQ(exchange->traffic().total_bytes(), 0);
    EXPECT_EQ(exchange->traffic().messages_to, std::vector<std::int64_t>(ranks, 0));
}

// Who carries the rows may have none, and then knows neither their length nor their type.
TEST_P(ExchangeTest, RanksWithoutAnyRowsAndViewsCarryThoseOfOthers) {
    for (int from = 0; from < ranks; ++from) {
        const int to = (from + ranks - 1) % ranks;
        Case rows(world, 9, [=](int a, int b) { return a == from && b == to ? 70 : 0; });
        const ConstRows send = me == from ? rows_of(std::as_const(rows.sent), 9) : ConstRows();
        const Rows recv = me == to ? rows_of(rows.received, 9) : Rows();
        exchange->start(send, recv, rows.counts, {"exchange"}).finish();
        EXPECT_EQ(rows.received, rows.expected);
    }
}

// A rank that waits for one transfer must move on the other, which its peer waits for.
TEST_P(ExchangeTest, RanksMayFinishInDifferentOrders) {
    for (int round = 0; round < 5; ++round) {
        Case first(world, 3000, [](int from, int to) { return 2 + (from + to) % 3; });
        Case second(world, 2000, [](int from, int to) { return 4 - (from + to) % 3; });
        Transfer one = first.start(*exchange), two = second.start(*exchange);
        if (me % 2 == 0) {
            one.finish();
            two.finish();
        } else {
            two.finish();
            one.finish();
        }
        EXPECT_EQ(first.received, first.expected);
        EXPECT_EQ(second.received, second.expected);
    }
}

// A barrier is a wait, too.
TEST_P(ExchangeTest, AWaitForSomethingElseMovesRowsOn) {
    Case rows(world, 3000, [](int from, int to) { return 2 + (from + to) % 3; });
    Transfer transfer = rows.start(*exchange);
    if (me == 0) transfer.finish();
    world.barrier();
    transfer.finish();
    EXPECT_EQ(rows.received, rows.expected);
}

// The others receive nothing, into no view at all; the receiver itself sends nothing.
TEST_P(ExchangeTest, OneRankReceivesEverything) {
    const int receiver = ranks - 1;
    Case rows(world, 7, [=](int from, int to) { return to == receiver && from != receiver ? 1 + 50 * from : 0; });
    const ConstRows send = rows.sent.empty() ? ConstRows() : rows_of(std::as_const(rows.sent), 7);
    const Rows recv = rows.received.empty() ? Rows() : rows_of(rows.received, 7);
    exchange->start(send, recv, rows.counts, {"exchange"}).finish();
    EXPECT_EQ(rows.received, rows.expected);
}

TEST_P(ExchangeTest, RowsOfEveryTypeKeepTheirBits) {
    const RandomField random(7, Purpose::test, std::uint32_t(me));
    std::vector<double> sent(std::size_t(2 * ranks) * 3), received(sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = random.normal(i);
    const RowCounts counts{std::vector<int>(ranks, 2), std::vector<int>(ranks, 2)};
    exchange->start(rows_of(std::as_const(sent), 3), rows_of(received, 3), counts, {"exchange"}).finish();
    for (int from = 0; from < ranks; ++from)
        for (int i = 0; i < 6; ++i)
            EXPECT_EQ(received[6 * from + i],
                      RandomField(7, Purpose::test, std::uint32_t(from)).normal(std::uint64_t(6 * me + i)));
}

// 400 KB a row, and 1.2 MB of small rows: more than one message of `spread` either way.
TEST_P(ExchangeTest, LargeRowsAndManyRowsArrive) {
    Case large(world, 100'000, [](int from, int to) { return 1 + (from + to) % 2; });
    large.start(*exchange).finish();
    EXPECT_EQ(large.received, large.expected);
    Case many(world, 60, [](int from, int to) { return 5000 + from - to; });
    many.start(*exchange).finish();
    EXPECT_EQ(many.received, many.expected);
}

TEST_P(ExchangeTest, TrafficIsTheBytesThatLeaveTheRank) {
    if (!kind.direct || has_options) GTEST_SKIP() << "sends other messages";
    Case rows(world, 5, [](int from, int to) { return (from + to) % 3 * 10; });
    std::vector<std::int64_t> expected_rows(ranks), expected_bytes(ranks);
    for (int peer = 0; peer < ranks; ++peer) {
        if (peer == me) continue;
        expected_rows[peer] = 2 * rows.counts.send[peer];
        expected_bytes[peer] = expected_rows[peer] * 5 * 4;
    }
    rows.start(*exchange).finish();
    rows.start(*exchange).finish();
    EXPECT_EQ(exchange->traffic().rows_to, expected_rows);
    EXPECT_EQ(exchange->traffic().bytes_to, expected_bytes);
    for (int peer = 0; peer < ranks; ++peer)
        EXPECT_EQ(exchange->traffic().messages_to[peer], expected_rows[peer] > 0 ? 2 : 0);
}

// Each of these would hang, or write where nobody expects it, if it were sent.
TEST_P(ExchangeTest, AViewThatDoesNotFitThrowsBeforeAnythingIsSent) {
    const Case good(world, 4, [](int from, int to) { return 2 + from + to; });
    const auto throws = [&](auto spoil) {
        Case bad = good;
        spoil(bad);
        EXPECT_THROW((void)bad.start(*exchange), Error);
    };
    throws([](Case& bad) { bad.received.resize(bad.received.size() - 4); });
    throws([](Case& bad) { bad.sent.resize(bad.sent.size() + 4); });
    throws([](Case& bad) { bad.counts.send.pop_back(); });
    throws([](Case& bad) { bad.counts.recv.push_back(0); });
    throws([this](Case& bad) { bad.counts.send[me] += 1, bad.sent.resize(bad.sent.size() + 4); });
    throws([](Case& bad) { bad.counts.send.front() -= 1000; });

    Case rows = good;
    std::vector<double> wide(rows.received.size());
    EXPECT_THROW((void)exchange->start(rows_of(std::as_const(rows.sent), 4), rows_of(wide, 4), rows.counts, {"test"}),
                 Error);
    std::vector<int> gaps(2 * rows.received.size());
    EXPECT_THROW((void)exchange->start(rows_of(std::as_const(rows.sent), 4), rows_of(gaps, 8).columns(0, 4),
                                       rows.counts, {"test"}),
                 Error);
    EXPECT_EQ(exchange->traffic().total_bytes(), 0);
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
}

// The last rank starts only when all others have given up; then all messages find their end.
TEST_P(ExchangeTest, ARankThatNeverSendsIsNamedWithTheRowsMissing) {
    if (ranks == 1) GTEST_SKIP() << "needs a peer";
    if (kind.chooses) GTEST_SKIP() << "asks all before it sends";
    const int late = ranks - 1;
    const Communicator impatient(MPI_COMM_WORLD, {.timeout_seconds = 0.3, .on_stuck_call = {}});
    auto waiting = make_exchange(GetParam(), impatient);
    int named = 0;
    Case rows(world, 2, [](int from, int to) { return 10 + from + to; });
    if (me != late) {
        Transfer transfer = rows.start(*waiting, {"dispatch", 3});
        try {
            transfer.finish();
            ADD_FAILURE() << "expected a TimeoutError";
        } catch (const TimeoutError& error) {
            const std::string line = error.what();
            EXPECT_EQ(line.find(concat("rank ", me, ": dispatch, layer 3: waited 0.")), 0u) << line;
            std::string expected = concat("rank ", late, " (", rows.counts.recv[late], " rows)");
            if (kind.name == "native")
                expected = concat("for all-to-all of ", rows.expected.size() / 2, " rows in, ", rows.sent.size() / 2,
                                  " out; peers unknown");
            if (!kind.direct) expected = "rank ";  // the one whose message comes next, perhaps not the cause
            EXPECT_NE(line.find(expected), std::string::npos) << line;
            named = line.find(concat("rank ", late, " (")) != std::string::npos;
        }
    }
    world.max(std::span(&named, 1));
    EXPECT_TRUE(named || kind.name == "native");
    // Who gave up posts nothing more: only what was posted at once arrives.
    if (me == late && kind.direct && kind.name != "window" && !has_options) {
        rows.start(*waiting).finish();
        EXPECT_EQ(rows.received, rows.expected);
    }
    world.barrier();
    // Peers that gave up read nothing more: as when the program ends so, the memory that ranks share is left.
    if (kind.name == "window") (void)waiting.release();
}

}  // namespace
}  // namespace expar
