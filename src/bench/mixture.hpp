#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "expar/base/random.hpp"
#include "expar/bench/workload.hpp"

namespace expar {

/// Which token of which rank in which step.
struct TokenPlace {
    std::uint64_t step = 0;
    int rank = 0;
    std::int64_t token = 0;  ///< over all ranks
};

/// A workload whose tokens draw their experts one after the other, none twice, each with a probability in proportion to
/// its share.
struct Mixture {
    std::vector<int> tokens;                  ///< [R]
    std::vector<std::vector<double>> shares;  ///< one or more times [E]
    /// Which of the shares a token draws from.
    std::function<std::size_t(const TokenPlace&, const RandomField&)> pick;
};

/// Throws Error when there are fewer experts with a share than choices.
[[nodiscard]] std::unique_ptr<Workload> make_mixture(const std::string& name, const WorkloadShape& shape,
                                                     std::uint64_t seed, Mixture mixture);

/// Every expert is chosen as often, also at every j, by each E consecutive tokens of all ranks.
[[nodiscard]] std::unique_ptr<Workload> make_balanced(const std::string& name, const WorkloadShape& shape,
                                                      std::uint64_t seed);

/// Sixteenths in (0, 1], descending: the weights of a token.
void draw_weights(const RandomField& random, std::int64_t token, std::span<float> weights);

// Places in a token's block of random numbers.
inline constexpr std::uint64_t draws_per_token = 1024;
inline constexpr std::uint64_t first_weight_draw = 512;
inline constexpr std::uint64_t pick_draw = 1023;
inline constexpr int largest_top_k = 511;

/// [R]: `total` tokens dealt in proportion to what the ranks are due, consecutive runs cut at floors.
[[nodiscard]] std::vector<int> dealt(std::int64_t total, const std::vector<double>& due);

/// A table of R x R numbers, not negative: how much each source (row) sends to each rank (column), in proportion.
/// Separated by blanks, tabs or commas; lines that begin with # are left out. Throws UserError that starts with `name`.
[[nodiscard]] std::vector<std::vector<double>> parse_traffic_matrix(const std::string& text, const std::string& name,
                                                                    int ranks);

}  // namespace expar
