#include "expar/bench/statistics.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

namespace expar {

Spread spread_of(std::vector<double> values) {
    std::ranges::sort(values);
    const std::size_t half = values.size() / 2;
    const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return {values.front(), median, values.back()};
}

Interval median_within(std::vector<double> values) {
    std::ranges::sort(values);
    // How many of n lie below the median is binomial: n/2, and a deviation of sqrt(n)/2.
    const auto count = double(values.size());
    const auto below = std::size_t(std::max(0.0, std::floor(count / 2 - 0.98 * std::sqrt(count))));
    return {values[below], values[values.size() - 1 - below]};
}

double seconds_of(const std::function<void()>& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

bool settled(const std::vector<double>& values, const Patience& patience) {
    const Interval within = median_within(values);
    return within.to - within.from <= patience.relative_width * spread_of(values).median;
}

std::vector<std::vector<double>> measure_in_turn(std::span<const std::function<double()>> kinds,
                                                 const Patience& patience) {
    std::vector<std::vector<double>> values(kinds.size());
    for (const auto& kind : kinds) (void)kind();
    const auto begin = std::chrono::steady_clock::now();
    for (int round = 1; round <= patience.at_most; ++round) {
        for (std::size_t i = 0; i < kinds.size(); ++i) values[i].push_back(kinds[i]());
        if (round < patience.at_least) continue;
        const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begin;
        if (spent.count() >= patience.seconds) break;
        if (std::ranges::all_of(values, [&](const auto& v) { return settled(v, patience); })) break;
    }
    return values;
}

}  // namespace expar
