#include "expar/bench/measure_together.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "expar/base/random.hpp"

namespace expar {
namespace {

std::vector<std::size_t> offsets_of(std::span<const Turn> turns) {
    std::vector<std::size_t> offsets = {0};
    for (const Turn& turn : turns) offsets.push_back(offsets.back() + std::size_t(turn.values));
    return offsets;
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

std::vector<std::size_t> shuffled_order(std::size_t count, std::uint64_t seed, std::uint32_t round) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const RandomField random(seed, Purpose::test, 0, round);
    for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
    return order;
}

std::vector<std::vector<double>> measure_together(std::span<const Turn> turns, const TogetherOptions& options,
                                                  const Communicator& world) {
    const std::vector<std::size_t> offset = offsets_of(turns);
    std::vector<std::vector<double>> values(offset.back());
    std::vector<double> round_values(offset.back() + 1);
    auto begin = std::chrono::steady_clock::now();
    for (int round = 0; round < options.warm_up + options.patience.at_most; ++round) {
        if (round == options.warm_up) begin = std::chrono::steady_clock::now();
        for (const std::size_t i : shuffled_order(turns.size(), options.seed, std::uint32_t(round)))
            turns[i].take(std::span(round_values).subspan(offset[i], std::size_t(turns[i].values)));
        if (round < options.warm_up) continue;
        // The clocks of ranks differ: they agree about the time, too.
        round_values.back() = seconds_since(begin);
        world.max(round_values, {"benchmark"});
        for (std::size_t i = 0; i < values.size(); ++i) values[i].push_back(round_values[i]);
        if (round + 1 < options.warm_up + options.patience.at_least) continue;
        if (round_values.back() >= options.patience.seconds) break;
        if (std::ranges::all_of(values, [&](const auto& seen) { return settled(seen, options.patience); })) break;
    }
    return values;
}

}  // namespace expar
