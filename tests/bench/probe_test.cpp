#include "expar/bench/probe.hpp"

#include <gtest/gtest.h>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

TEST(Probe, ColdIsMoreThanTheLastCacheOfMostAndNotEndless) {
    EXPECT_GE(cold_bytes(), std::size_t{64} << 20);
    EXPECT_LE(cold_bytes(), std::size_t{512} << 20);
}

// More calls than the ring has pieces, on threads that do not divide them.
TEST(Probe, EveryLoopGoesRoundTheRing) {
    constexpr std::size_t piece = (std::size_t{17} << 20) + 128;
    MemoryProbe probe(3);
    for (std::size_t i = 0; i < cold_bytes() / piece + 3; ++i) {
        EXPECT_GT(probe.read(piece), 0);
        EXPECT_GT(probe.write(piece), 0);
        EXPECT_GT(probe.copy(piece), 0);
        EXPECT_GT(probe.update(piece), 0);
    }
}

TEST(Probe, APieceIsLikeTheTraffic) {
    EXPECT_EQ(MemoryProbe::piece_for(10), std::size_t{1} << 20);
    EXPECT_EQ(MemoryProbe::piece_for(5.5 * (1 << 20)), std::size_t{5} << 20);
    EXPECT_EQ(MemoryProbe::piece_for(1e12), std::size_t{32} << 20);
}

TEST(Probe, ADenseProductTakesTime) {
    const auto device = make_cpu_device(2);
    EXPECT_GT(DenseProbe(*device, DType::float32).run(), 0);
}

}  // namespace
}  // namespace expar
