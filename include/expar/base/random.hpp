#pragma once

#include <array>
#include <cstdint>

namespace expar {

/// What a random number is for: equal coordinates under different purposes give unrelated numbers.
enum class Purpose : std::uint32_t { initial_weights = 1, batches, router_noise, placement, routing, sampling, test };

/// Four random words for a counter and a key, without state: Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw,
/// "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
[[nodiscard]] std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                                  std::array<std::uint32_t, 2> key);

/// Random numbers that depend on (seed, purpose, layer, step) and the index asked for, and on nothing else: not on the
/// rank, not on what was drawn before.
class RandomField {
public:
    RandomField(std::uint64_t seed, Purpose purpose, std::uint32_t layer = 0, std::uint32_t step = 0);

    [[nodiscard]] std::uint64_t bits(std::uint64_t index) const;
    [[nodiscard]] double uniform(std::uint64_t index) const;  ///< in [0, 1), 53 bits
    [[nodiscard]] double normal(std::uint64_t index) const;   ///< mean 0, variance 1 (Box-Muller)
    /// In [0, bound), bias below bound / 2^64.
    [[nodiscard]] std::uint64_t below(std::uint64_t bound, std::uint64_t index) const;

private:
    [[nodiscard]] std::array<std::uint32_t, 4> words(std::uint64_t index) const;

    std::array<std::uint32_t, 2> key_;
    std::uint32_t layer_;
    std::uint32_t step_;
};

}  // namespace expar
