#include "expar/comm/exchange.hpp"

#include <gtest/gtest.h>

#include <numeric>

namespace expar {
namespace {

Rows rows_of(std::vector<int>& values, int cols = 1) {
    return {values.data(), int(values.size()) / cols, cols, DType::int32};
}
ConstRows rows_of(const std::vector<int>& values, int cols = 1) {
    return {values.data(), int(values.size()) / cols, cols, DType::int32};
}

// Row i of those that `from` sends to `to`, element c: different wherever a mistake could exchange two.
int element(int from, int to, int i, int c) {
    return ((from * 16 + to) * 4096 + i) * 16 + c % 16;
}

/// An exchange of rank s's count(s, d) rows with rank d, and what must arrive.
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
    Transfer start(Exchange& exchange) {
        return exchange.start(rows_of(std::as_const(sent), cols), rows_of(received, cols), counts, {"exchange"});
    }
};

class ExchangeTest : public testing::TestWithParam<std::string> {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Exchange> exchange = make_exchange(GetParam(), world);
};

INSTANTIATE_TEST_SUITE_P(All, ExchangeTest, testing::ValuesIn(exchange_names()),
                         [](const auto& info) { return info.param; });

// Rank s sends s + d rows to rank d, so that one pair exchanges nothing and no count matches by luck.
TEST_P(ExchangeTest, DeliversEveryRowOnceInSourceOrder) {
    Case rows(world, 3, [](int from, int to) { return from + 2 * to; });
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
}

}  // namespace
}  // namespace expar
