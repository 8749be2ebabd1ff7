#include "expar/comm/exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <numeric>

#include "expar/base/names.hpp"
#include "expar/base/random.hpp"
#include "rows_of.hpp"

namespace expar {
namespace {

// Element c of row i of those that `from` sends to `to`: different wherever a mistake could exchange two.
int element(int from, int to, int i, int c) {
    return ((from * 16 + to) * 8192 + i) * 16 + c % 16;
}

/// An exchange of count(s, d) rows from every rank s to every rank d, and what must arrive here.
struct Case {
    RowCounts counts;
    std::vector<int> sent, received, expected;
    int cols;

    template <class Count>
    Case(const Communicator& world, int columns, Count count) : cols(columns) {
        const int me = world.rank();
        for (int peer = 0; peer < world.size(); ++peer) {
            counts.send.push_back(count(me, peer));
            counts.recv.push_back(count(peer, me));
            for (int i = 0; i < counts.send.back(); ++i)
                for (int c = 0; c < cols; ++c) sent.push_back(element(me, peer, i, c));
            for (int i = 0; i < counts.recv.back(); ++i)
                for (int c = 0; c < cols; ++c) expected.push_back(element(peer, me, i, c));
        }
        received.assign(expected.size(), -1);
    }
    Transfer start(Exchange& exchange, Occasion occasion = {"exchange"}) {
        return exchange.start(rows_of(std::as_const(sent), cols), rows_of(received, cols), counts, occasion);
    }
};

// About half of the pairs exchange nothing.
auto random_counts(int seed) {
    return [random = RandomField(std::uint64_t(seed), Purpose::test)](int from, int to) {
        const auto pair = std::uint64_t(from * 16 + to);
        return random.below(2, pair) ? int(random.below(200, pair + 1000)) : 0;
    };
}

// Every kind as it is by default, and those with options where these change what happens.
std::vector<std::string> specifications() {
    std::vector<std::string> all = exchange_names();
    all.insert(all.end(),
               {"spread:open=1:message=1k", "spread:open=3:message=100", "node:ranks-per-node=1",
                "node:ranks-per-node=2", "node:ranks-per-node=3:open=1:message=1k", "bruck:open=1:message=1k"});
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
    const int late = ranks - 1;
    const Communicator impatient(MPI_COMM_WORLD, {.timeout_seconds = 0.3, .on_stuck_call = {}});
    const auto waiting = make_exchange(GetParam(), impatient);
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
    if (me == late && kind.direct && !has_options) {
        rows.start(*waiting).finish();
        EXPECT_EQ(rows.received, rows.expected);
    }
    world.barrier();
}

TEST(ExchangeKindsTest, AllDeliverTheSame) {
    const Communicator world(MPI_COMM_WORLD);
    for (int seed = 100; seed < 110; ++seed) {
        std::vector<std::vector<int>> received;
        for (const ExchangeKind& kind : exchange_kinds) {
            Case rows(world, 33, random_counts(seed));
            make_exchange(kind.name, world)
                ->start(rows_of(std::as_const(rows.sent), 33), rows_of(rows.received, 33), rows.counts, {"exchange"})
                .finish();
            received.push_back(rows.received);
        }
        for (const auto& rows : received) EXPECT_EQ(rows, received.front()) << "seed " << seed;
    }
}

TEST(ExchangeKindsTest, SpreadCutsMessagesAtWholeRows) {
    const Communicator world(MPI_COMM_WORLD);
    const auto exchange = make_exchange("spread", world);
    Case rows(world, 30'000, [](int, int) { return 5; });  // 120 KB a row: two fit in 256 KiB
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
    for (int peer = 0; peer < world.size(); ++peer)
        EXPECT_EQ(exchange->traffic().messages_to[peer], peer == world.rank() ? 0 : 3);
}

// Nothing is done before the first look, so that what was handed over is what is open.
TEST(ExchangeKindsTest, SpreadHasSoManyMessagesOpenAndNotMore) {
    const Communicator world(MPI_COMM_WORLD);
    const auto exchange = make_exchange("spread:open=2:message=150000", world);
    Case rows(world, 30'000, [](int, int) { return 5; });
    Transfer transfer = rows.start(*exchange);
    const auto& messages = exchange->traffic().messages_to;
    EXPECT_EQ(std::accumulate(messages.begin(), messages.end(), std::int64_t(0)), world.size() == 1 ? 0 : 2);
    transfer.finish();
    EXPECT_EQ(rows.received, rows.expected);
    for (int peer = 0; peer < world.size(); ++peer) EXPECT_EQ(messages[peer], peer == world.rank() ? 0 : 5);
}

// Rank r on node r % 3: the rows for a node's ranks do not lie together.
TEST(ExchangeKindsTest, NodesNeedNotBeConsecutiveRanks) {
    const Communicator world(MPI_COMM_WORLD);
    ExchangeOptions options;
    for (int rank = 0; rank < world.size(); ++rank) options.topology.node_of.push_back(rank % 3);
    const auto exchange = make_node_exchange(world, options);
    for (int seed = 0; seed < 10; ++seed) {
        Case rows(world, 1 + 7 * seed, random_counts(seed));
        rows.start(*exchange).finish();
        ASSERT_EQ(rows.received, rows.expected) << "seed " << seed;
    }
}

// One message of rows, and one that tells their counts, for every pair of nodes, whatever the ranks on them.
TEST(ExchangeKindsTest, RowsOfAPairOfNodesTravelInOneMessage) {
    const Communicator world(MPI_COMM_WORLD);
    const auto exchange = make_exchange("node:ranks-per-node=2", world);
    Case rows(world, 4, [](int from, int to) { return 1 + from + to; });
    rows.start(*exchange).finish();
    const Topology topology = topology_of(world.size(), 2);
    const int here = topology.node_of[world.rank()];
    int crossing = 0;
    std::int64_t rows_out = 0, must_leave = 0;
    for (int peer = 0; peer < world.size(); ++peer) {
        if (topology.node_of[peer] == here) continue;
        crossing += int(exchange->traffic().messages_to[peer]);
        rows_out += exchange->traffic().rows_to[peer];
        must_leave += rows.counts.send[peer];
    }
    std::array<std::int64_t, 3> sums{crossing, rows_out, must_leave};
    world.sum(std::span<std::int64_t>(sums));
    EXPECT_EQ(sums[0], 2 * topology.nodes() * (topology.nodes() - 1));
    EXPECT_EQ(sums[1], sums[2]);
}

// A row that has i ranks to go passes as many times as i has bits.
TEST(ExchangeKindsTest, BruckSendsRowsInLogarithmicallyManySteps) {
    const Communicator world(MPI_COMM_WORLD);
    const auto exchange = make_exchange("bruck", world);
    Case rows(world, 2, [](int, int) { return 3; });
    rows.start(*exchange).finish();
    int steps = 0, passes = 0;
    for (int distance = 1; distance < world.size(); distance *= 2) ++steps;
    for (int i = 1; i < world.size(); ++i) passes += std::popcount(unsigned(i));
    const auto& traffic = exchange->traffic();
    EXPECT_EQ(std::accumulate(traffic.messages_to.begin(), traffic.messages_to.end(), std::int64_t(0)), 2 * steps);
    EXPECT_EQ(traffic.total_rows(), 3 * passes);
}

// A transfer that is still open keeps what it needs.
TEST(ExchangeKindsTest, ATransferOutlivesItsExchange) {
    const Communicator world(MPI_COMM_WORLD);
    for (const ExchangeKind& kind : exchange_kinds) {
        Case rows(world, 1000, [](int from, int to) { return 100 + from - to; });
        Transfer transfer = rows.start(*make_exchange(kind.name, world));
        transfer.finish();
        EXPECT_EQ(rows.received, rows.expected) << kind.name;
    }
}

TEST(ExchangeKindsTest, AnUnknownNameIsAnsweredWithTheKnownOnes) {
    const Communicator world(MPI_COMM_WORLD);
    try {
        (void)make_exchange("fast", world);
        FAIL() << "expected a UserError";
    } catch (const UserError& error) {
        EXPECT_STREQ(error.what(), "unknown exchange 'fast'; known: native, spread, node, bruck");
    }
    EXPECT_EQ(exchange_names(), (std::vector<std::string>{"native", "spread", "node", "bruck"}));
}

TEST(ExchangeKindsTest, ASpecificationSetsOptions) {
    const ExchangeSpec spec = parse_exchange("spread:open=4:message=64k:ranks-per-node=2", 4);
    EXPECT_EQ(spec.kind, "spread");
    EXPECT_EQ(spec.options.open_messages, 4);
    EXPECT_EQ(spec.options.message_bytes, 65'536u);
    EXPECT_EQ(spec.options.topology.node_of, (std::vector<int>{0, 0, 1, 1}));
    EXPECT_EQ(parse_exchange("node", 4).options.open_messages, ExchangeOptions().open_messages);
}

TEST(ExchangeKindsTest, AWrongOptionIsNamed) {
    const auto error_of = [](std::string_view text) -> std::string {
        try {
            (void)parse_exchange(text, 4);
        } catch (const UserError& error) {
            return error.what();
        }
        return "none";
    };
    EXPECT_EQ(error_of("spread:window=4"), "unknown exchange option 'window'; known: message, open, ranks-per-node");
    for (const char* value : {"0", "", "-1", "4x", "k", "99999999999"})
        EXPECT_NE(error_of(concat("spread:open=", value)).find("exchange option open: '"), std::string::npos) << value;
}

}  // namespace
}  // namespace expar
