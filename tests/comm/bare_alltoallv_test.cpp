#include "expar/comm/bare_alltoallv.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "rows_of.hpp"

namespace expar {
namespace {

// Rank s sends s + d rows to rank d, so that no count is right by luck.
TEST(BareAlltoallv, DeliversEveryRowInOrder) {
    const Communicator world(MPI_COMM_WORLD);
    constexpr int cols = 3;
    RowCounts counts;
    std::vector<int> sent, expected;
    for (int peer = 0; peer < world.size(); ++peer) {
        counts.send.push_back(world.rank() + peer);
        counts.recv.push_back(world.rank() + peer);
        sent.insert(sent.end(), std::size_t(cols * counts.send.back()), 100 * world.rank() + peer);
        expected.insert(expected.end(), std::size_t(cols * counts.recv.back()), 100 * peer + world.rank());
    }
    std::vector<int> received(expected.size(), -1);
    const BareAlltoallv all_to_all(world, counts, cols, DType::int32);
    for (int repetition = 0; repetition < 2; ++repetition) {
        all_to_all.run(rows_of(std::as_const(sent), cols), rows_of(received, cols));
        EXPECT_EQ(received, expected);
        received.assign(expected.size(), -1);
    }
    std::vector<int> one_more(received.size() + cols);
    EXPECT_THROW(all_to_all.run(rows_of(std::as_const(sent), cols), rows_of(one_more, cols)), Error);
}

}  // namespace
}  // namespace expar
