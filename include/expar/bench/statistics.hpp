#pragma once

#include <functional>
#include <span>
#include <vector>

namespace expar {

struct Spread {
    double min = 0, median = 0, max = 0;
};
[[nodiscard]] Spread spread_of(std::vector<double> values);

/// Between which two of the values the median of all that could be measured lies, with 95 % certainty; the outermost
/// when there are fewer than 6. By counting, so whatever their distribution is (the sign test).
struct Interval {
    double from = 0, to = 0;
};
[[nodiscard]] Interval median_within(std::vector<double> values);

/// How long to measure: until the medians are known well enough, or the time is used up.
struct Patience {
    double seconds = 1;
    double relative_width = 0.02;  ///< of the interval that a median lies within, to the median
    int at_least = 5;              ///< times, whatever it takes
    int at_most = 2000;
};

/// Whether the median of the values is known as well as patience asks.
[[nodiscard]] bool settled(const std::vector<double>& values, const Patience& patience);

/// Takes one measurement of every kind in turn, round after round, so that what disturbs the machine disturbs all kinds
/// alike. The values of each kind, but for those of the first round, which warms up.
[[nodiscard]] std::vector<std::vector<double>> measure_in_turn(std::span<const std::function<double()>> kinds,
                                                               const Patience& patience);

/// Of one call, by the steady clock.
[[nodiscard]] double seconds_of(const std::function<void()>& work);

}  // namespace expar
