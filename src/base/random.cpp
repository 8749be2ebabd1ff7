#include "expar/base/random.hpp"

#include <cmath>
#include <numbers>

namespace expar {

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0];
        const std::uint64_t b = std::uint64_t{0xCD9E8D57} * counter[2];
        counter = {std::uint32_t(b >> 32) ^ counter[1] ^ key[0], std::uint32_t(b),
                   std::uint32_t(a >> 32) ^ counter[3] ^ key[1], std::uint32_t(a)};
        key[0] += 0x9E3779B9;
        key[1] += 0xBB67AE85;
    }
    return counter;
}

RandomField::RandomField(std::uint64_t seed, Purpose purpose, std::uint32_t layer, std::uint32_t step)
    : key_{std::uint32_t(seed), std::uint32_t(seed >> 32) ^ (std::uint32_t(purpose) << 24)},
      layer_(layer),
      step_(step) {}

std::array<std::uint32_t, 4> RandomField::words(std::uint64_t index) const {
    return philox({std::uint32_t(index), std::uint32_t(index >> 32), layer_, step_}, key_);
}

std::uint64_t RandomField::bits(std::uint64_t index) const {
    const auto w = words(index);
    return std::uint64_t(w[0]) << 32 | w[1];
}

double RandomField::uniform(std::uint64_t index) const {
    return double(bits(index) >> 11) * 0x1p-53;
}

double RandomField::normal(std::uint64_t index) const {
    const auto w = words(index);
    // The first uniform is in (0, 1], so that its logarithm is finite.
    const double u = (double((std::uint64_t(w[0]) << 32 | w[1]) >> 11) + 1) * 0x1p-53;
    const double v = double((std::uint64_t(w[2]) << 32 | w[3]) >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v);
}

std::uint64_t RandomField::below(std::uint64_t bound, std::uint64_t index) const {
    __extension__ using Wide = unsigned __int128;
    return std::uint64_t(Wide(bits(index)) * bound >> 64);
}

}  // namespace expar
