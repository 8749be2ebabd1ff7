#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <deque>
#include <numeric>

#include "exchange_case.hpp"

namespace expar {
namespace {

using Case = ExchangeCase;

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

TEST(ExchangeKindsTest, SpreadHasSoManyBytesOpenAndNotMore) {
    const Communicator world(MPI_COMM_WORLD);
    // Of a row each: two of them are fewer bytes than may be open, three are not.
    const auto exchange = make_exchange("spread:flight=299999:message=120000", world);
    Case rows(world, 30'000, [](int, int) { return 5; });
    Transfer transfer = rows.start(*exchange);
    const auto& messages = exchange->traffic().messages_to;
    EXPECT_EQ(std::accumulate(messages.begin(), messages.end(), std::int64_t(0)), world.size() == 1 ? 0 : 2);
    transfer.finish();
    EXPECT_EQ(rows.received, rows.expected);
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

// Rows from lent memory, from a part of it, and from other memory, in turn and at once.
TEST(ExchangeKindsTest, LentMemoryIsReadWhereItLies) {
    const Communicator world(MPI_COMM_WORLD);
    for (const std::string kind : {"window:lent=1m", "spread"}) {
        const auto exchange = make_exchange(kind, world);
        for (int round = 0; round < 30; ++round) {
            Case one(world, 100, [=](int from, int to) { return 40 + from + (to + round) % 5; });
            Case two(world, 100, [](int from, int to) { return 30 + from + to; });
            const std::size_t bytes = one.sent.size() * sizeof(int);
            const auto lent = exchange->lend(bytes + 400);
            auto* numbers = reinterpret_cast<int*>(lent.get() + 400);
            std::ranges::copy(one.sent, numbers);
            Transfer first = exchange->start(ConstRows(numbers, int(one.sent.size() / 100), 100, DType::int32),
                                             rows_of(one.received, 100), one.counts, {"exchange"});
            Transfer second = two.start(*exchange);
            first.finish();
            std::fill_n(numbers, one.sent.size(), -7);  // everybody has read
            second.finish();
            ASSERT_EQ(one.received, one.expected) << round;
            ASSERT_EQ(two.received, two.expected) << round;
        }
    }
}

// More than is lent falls back to other memory; what is given back can be lent again.
TEST(ExchangeKindsTest, LentMemoryEndsAndComesBack) {
    const Communicator world(MPI_COMM_WORLD);
    const auto exchange = make_exchange("window:lent=1k", world);
    auto first = exchange->lend(512);
    const auto second = exchange->lend(512);
    std::byte* place = first.get();
    EXPECT_EQ(second.get(), place + 512);
    const auto elsewhere = exchange->lend(64);
    EXPECT_TRUE(elsewhere.get() < place || elsewhere.get() >= place + 1024);
    const auto again = exchange->lend(4096);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(again.get()) % 64, 0u);
    first.reset();
    EXPECT_EQ(exchange->lend(500).get(), place);
}

// More pieces than a channel lists at once.
TEST(ExchangeKindsTest, AWindowTakesAnyNumberOfOpenTransfers) {
    const Communicator world(MPI_COMM_WORLD);
    for (const std::string kind : {"window", "window:lent=4m"}) {
        const auto exchange = make_exchange(kind, world);
        std::deque<Case> cases;
        std::vector<Transfer> open;
        std::vector<std::shared_ptr<std::byte>> lent;
        for (int i = 0; i < 50; ++i) {
            Case& rows = cases.emplace_back(world, 10, [=](int from, int to) { return (from + to + i) % 4 * 20; });
            const std::size_t bytes = rows.sent.size() * sizeof(int);
            lent.push_back(exchange->lend(bytes));
            std::copy(rows.sent.begin(), rows.sent.end(), reinterpret_cast<int*>(lent.back().get()));
            open.push_back(exchange->start(ConstRows(lent.back().get(), int(rows.sent.size() / 10), 10, DType::int32),
                                           rows_of(rows.received, 10), rows.counts, {"exchange"}));
        }
        for (auto& transfer : open) transfer.finish();
        for (const Case& rows : cases) EXPECT_EQ(rows.received, rows.expected);
    }
}

TEST(ExchangeKindsTest, AWindowNamesTheRankThatSendsAnotherNumberOfRows) {
    const Communicator world(MPI_COMM_WORLD);
    if (world.size() == 1) GTEST_SKIP() << "needs a peer";
    auto exchange = make_exchange("window", world);
    std::vector<int> sent(4), received(8);
    RowCounts counts{std::vector<int>(world.size()), std::vector<int>(world.size())};
    if (world.rank() == 0) counts.send[1] = 1;  // of 4 columns
    if (world.rank() == 1) counts.recv[0] = 2;
    Transfer transfer = exchange->start(rows_of(std::as_const(sent), 4).slice(0, counts.send[1]),
                                        rows_of(received, 4).slice(0, counts.recv[0]), counts, {"exchange"});
    if (world.rank() == 1) {
        try {
            transfer.finish();
            ADD_FAILURE() << "expected an Error";
        } catch (const Error& error) {
            EXPECT_NE(std::string(error.what()).find("rank 0 sends 16 bytes, rank 1 expects 32"), std::string::npos)
                << error.what();
        }
    } else {
        transfer.finish();
    }
    (void)exchange.release();  // as when the program ends so: its end waits for what was expected
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
        EXPECT_STREQ(error.what(), "unknown exchange 'fast'; known: native, spread, node, bruck, window, auto");
    }
    EXPECT_EQ(exchange_names(), (std::vector<std::string>{"native", "spread", "node", "bruck", "window", "auto"}));
}

TEST(ExchangeKindsTest, ASpecificationSetsOptions) {
    const ExchangeSpec spec = parse_exchange("spread:open=4:message=64k:flight=3m:ranks-per-node=2", 4);
    EXPECT_EQ(spec.kind, "spread");
    EXPECT_EQ(spec.options.open_messages, 4);
    EXPECT_EQ(spec.options.message_bytes, 65'536u);
    EXPECT_EQ(spec.options.open_bytes, std::size_t(3) << 20);
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
    EXPECT_EQ(error_of("spread:window=4"),
              "unknown exchange option 'window'; known: message, lent, open, flight, costs, ranks-per-node");
    for (const char* value : {"0", "", "-1", "4x", "k", "99999999999"})
        EXPECT_NE(error_of(concat("spread:open=", value)).find("exchange option open: '"), std::string::npos) << value;
}

}  // namespace
}  // namespace expar
