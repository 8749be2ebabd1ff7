#include "expar/observe/stopwatch.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace expar {
namespace {

TEST(Stopwatch, AddsTheTimeOfItsLife) {
    double seconds = 7;
    {
        const Stopwatch watch(seconds);
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        EXPECT_EQ(seconds, 7);
    }
    EXPECT_GE(seconds, 7.002);
}

}  // namespace
}  // namespace expar
