#include "expar/comm/staged_transfers.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "expar/comm/exchange.hpp"
#include "rows_of.hpp"

namespace expar {
namespace {

class StagedTransfersTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Exchange> first = make_exchange("native", world), second = make_exchange("native", world);
    StagedTransfers staged{world};
    RowCounts one_each{std::vector<int>(std::size_t(world.size()), 1), std::vector<int>(std::size_t(world.size()), 1)};
};

// The second stage sends on, to everybody, the sum of what the first brought. Each rank finishes in an order of its
// own.
TEST_F(StagedTransfersTest, SendOnWhatHasArrivedInWhateverOrderRanksFinish) {
    constexpr int open = 5;
    const auto size = std::size_t(world.size());
    struct Numbers {
        std::vector<int> sent, brought, sums, received;
    };
    std::vector<Numbers> numbers(open);
    std::vector<Transfer> transfers;
    for (int i = 0; i < open; ++i) {
        Numbers& n = numbers[std::size_t(i)];
        n = {std::vector<int>(size, 100 * i + world.rank()), std::vector<int>(size), {}, std::vector<int>(size)};
        Transfer stage = first->start(rows_of(n.sent), rows_of(n.brought), one_each, {"first"});
        transfers.push_back(staged.join(std::move(stage),
                                        [&, i] {
                                            int sum = 0;
                                            for (const int value : n.brought) sum += value;
                                            n.sums.assign(size, sum + world.rank());
                                            return second->start(rows_of(n.sums), rows_of(n.received), one_each,
                                                                 {"second"});
                                        },
                                        {"staged"}));
    }
    for (int i = 0; i < open; ++i) transfers[std::size_t((2 * i + world.rank()) % open)].finish();
    for (int i = 0; i < open; ++i) {
        const int sum = 100 * i * world.size() + world.size() * (world.size() - 1) / 2;
        for (int rank = 0; rank < world.size(); ++rank)
            EXPECT_EQ(numbers[std::size_t(i)].received[std::size_t(rank)], sum + rank) << i;
    }
}

TEST_F(StagedTransfersTest, PassOnWhatTheSecondStageThrows) {
    Transfer transfer = staged.join(Transfer(), []() -> Transfer { throw Error("no second stage"); }, {"staged"});
    EXPECT_THROW(transfer.finish(), Error);
}

}  // namespace
}  // namespace expar
