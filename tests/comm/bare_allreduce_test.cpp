#include "expar/comm/bare_allreduce.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace expar {
namespace {

// Powers of two, one for each rank: the sum tells who was added, and how often.
TEST(BareAllreduce, AddsEveryRankOnce) {
    const Communicator world(MPI_COMM_WORLD);
    std::vector<float> values;
    for (int i = 0; i < 1000; ++i) values.push_back(float((1 << world.rank()) * (i % 3)));
    bare_allreduce(world, values);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(values[std::size_t(i)], float(((1 << world.size()) - 1) * (i % 3)));
    bare_allreduce(world, {});
}

}  // namespace
}  // namespace expar
