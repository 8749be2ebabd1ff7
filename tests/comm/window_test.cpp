#include "expar/comm/window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>

namespace expar {
namespace {

class WindowTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};

    static std::span<int> ints(const Window& window, int rank) {
        return {reinterpret_cast<int*>(window.part(rank)), window.bytes(rank) / sizeof(int)};
    }
};

// Parts of other sizes on every rank; rank 0 has none when it is not alone.
TEST_F(WindowTest, EveryRankSeesWhatTheOthersStored) {
    const int count = 1000 * (world.size() == 1 ? 1 : world.rank());
    const Window window(world, std::size_t(count) * sizeof(int));
    ASSERT_EQ(window.bytes(world.rank()), std::size_t(count) * sizeof(int));
    EXPECT_TRUE(std::ranges::all_of(ints(window, world.rank()), [](int value) { return value == 0; }));
    std::ranges::fill(ints(window, world.rank()), world.rank() + 1);
    world.barrier();
    for (int rank = 0; rank < world.size(); ++rank) {
        const auto part = ints(window, rank);
        EXPECT_EQ(part.size(), std::size_t(1000 * (world.size() == 1 ? 1 : rank)));
        EXPECT_TRUE(std::ranges::all_of(part, [=](int value) { return value == rank + 1; })) << rank;
    }
    world.barrier();  // everybody has read
}

TEST_F(WindowTest, PartsBeginOnALine) {
    for (const std::size_t bytes : {1u, 63u, 64u, 4097u}) {
        const Window window(world, bytes);
        for (int rank = 0; rank < world.size(); ++rank)
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(window.part(rank)) % 64, 0u) << bytes;
    }
}

// A flag that is raised with release order brings all stores before it.
TEST_F(WindowTest, AFlagBringsTheStoresBeforeIt) {
    constexpr int rounds = 2000;
    struct Part {
        alignas(64) std::uint64_t flag;
        alignas(64) std::uint64_t values[16];
    };
    const Window window(world, sizeof(Part));
    const auto part = [&](int rank) { return reinterpret_cast<Part*>(window.part(rank)); };
    const int left = (world.rank() + world.size() - 1) % world.size();
    int wrong = 0;
    for (std::uint64_t round = 1; round <= rounds; ++round) {
        // Values of the round before last have been read by all: their flags of the last round say so.
        auto& mine = *part(world.rank());
        for (int i = 0; i < 8; ++i) mine.values[(round % 2) * 8 + i] = round;
        std::atomic_ref(mine.flag).store(round, std::memory_order_release);
        for (int rank = 0; rank < world.size(); ++rank)
            wait_until([&] { return std::atomic_ref(part(rank)->flag).load(std::memory_order_acquire) >= round; },
                       *world.policy(), {"test"}, world.rank(), [] { return "a flag"; });
        for (int i = 0; i < 8; ++i) wrong += part(left)->values[(round % 2) * 8 + i] != round;
    }
    EXPECT_EQ(wrong, 0);
}

TEST_F(WindowTest, MovesWithItsMemory) {
    Window first(world, 64);
    ints(first, world.rank())[0] = 7;
    Window second(world, 64);
    second = std::move(first);
    EXPECT_EQ(ints(second, world.rank())[0], 7);
    const Window third(std::move(second));
    EXPECT_EQ(ints(third, world.rank())[0], 7);
}

TEST_F(WindowTest, SeveralGroupsHaveTheirOwn) {
    const Communicator half = world.split(world.rank() % 2);
    const Window window(half, sizeof(int));
    ints(window, half.rank())[0] = world.rank();
    half.barrier();
    for (int rank = 0; rank < half.size(); ++rank) EXPECT_EQ(ints(window, rank)[0] % 2, world.rank() % 2);
    half.barrier();
}

// More than a node has, asked for by one rank: all refuse, and may go on.
TEST_F(WindowTest, TooMuchIsRefusedOnAllRanksAlike) {
    const bool greedy = world.rank() == world.size() - 1;
    try {
        const Window window(world, greedy ? std::size_t(1) << 50 : 64);
        FAIL() << "expected a UserError";
    } catch (const UserError& error) {
        EXPECT_NE(std::string(error.what()).find("are free in /dev/shm"), std::string::npos) << error.what();
    }
    const Window window(world, 64);
    EXPECT_EQ(ints(window, world.rank())[0], 0);
}

}  // namespace
}  // namespace expar
