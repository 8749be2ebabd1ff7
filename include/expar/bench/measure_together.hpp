#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "expar/bench/statistics.hpp"
#include "expar/comm/communicator.hpp"

namespace expar {

/// One of several that are compared: takes its measurements, as many as it says, all of this rank. Collective.
struct Turn {
    int values = 1;
    std::function<void(std::span<double> seconds)> take;
};

struct TogetherOptions {
    Patience patience{};
    int warm_up = 1;         ///< rounds before those that count
    std::uint64_t seed = 1;  ///< of the order in which they come, another in each round
};

/// measure_in_turn() on all ranks at once: a round has a turn of each, and every value is the largest of all ranks'. By
/// turn, its values one after the other: one for each round that counts. The same on every rank. Collective.
[[nodiscard]] std::vector<std::vector<double>> measure_together(std::span<const Turn> turns,
                                                                const TogetherOptions& options,
                                                                const Communicator& world);

/// Seconds of `work` on this rank, from when all ranks were there. Collective.
template <class Work>
[[nodiscard]] double seconds_together(const Communicator& world, Work&& work) {
    world.barrier({"benchmark"});
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// 0 … count - 1 in an order that depends on the seed and the round alone.
[[nodiscard]] std::vector<std::size_t> shuffled_order(std::size_t count, std::uint64_t seed, std::uint32_t round);

}  // namespace expar
