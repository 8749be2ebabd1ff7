#include "expar/comm/start_messages.hpp"

#include <gtest/gtest.h>

#include "rows_of.hpp"

namespace expar {
namespace {

constexpr int cols = 3;

class StartMessagesTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    int me = world.rank();
    int ranks = world.size();

    // What `from` has for `to`: row i differs from every other row of the test. To some ranks it has nothing.
    [[nodiscard]] static std::vector<float> rows_between(int from, int to, int call) {
        std::vector<float> values;
        for (int i = 0; i < (from + 2 * to) % 4 * 5 * cols; ++i)
            values.push_back(float(((call * 8 + from) * 8 + to) * 100 + i));
        return values;
    }
};

// The limits hold less than a row, rows with a rest, and all rows at once.
TEST_F(StartMessagesTest, DeliversRowsOfEveryPairInTheOrderOfTheCalls) {
    for (const std::size_t message_bytes : {1, 4 * cols * 2, 1 << 20}) {
        std::vector<std::vector<float>> sent, received;
        std::vector<Transfer> open;
        for (int i = 0; i < 2 * ranks; ++i) {
            sent.push_back(rows_between(me, i % ranks, i / ranks));
            received.emplace_back(rows_between(i % ranks, me, 0).size(), -1.0F);
        }
        for (int call = 0; call < 2; ++call) {
            std::vector<RowsFrom> from;
            std::vector<RowsTo> to;
            for (int peer = 0; peer < ranks; ++peer) {
                if (peer == me) continue;
                from.push_back({peer, rows_of(received[call * ranks + peer], cols)});
                to.push_back({peer, rows_of(std::as_const(sent[call * ranks + peer]), cols)});
            }
            open.push_back(start_messages(world, from, to, message_bytes, {"test"}));
        }
        for (Transfer& transfer : open) transfer.finish();
        for (int i = 0; i < 2 * ranks; ++i) {
            if (i % ranks == me) continue;
            EXPECT_EQ(received[i], rows_between(i % ranks, me, i / ranks)) << message_bytes << " bytes, " << i;
        }
    }
}

TEST_F(StartMessagesTest, NothingToMoveIsDoneAtOnce) {
    EXPECT_TRUE(start_messages(world, {}, {}, 100, {"test"}).progress());
    const std::vector<RowsTo> to{{0, ConstRows()}};
    EXPECT_TRUE(start_messages(world, {}, to, 100, {"test"}).progress());
}

// Thrown before anything leaves: no rank receives.
TEST_F(StartMessagesTest, RefusesRowsOfUnequalShape) {
    const std::vector<float> values(6);
    const std::vector<RowsTo> to{{0, rows_of(values, 2)}, {0, rows_of(values, 3)}};
    EXPECT_THROW((void)start_messages(world, {}, to, 100, {"test"}), Error);
}

}  // namespace
}  // namespace expar
