#pragma once

#include <bit>
#include <concepts>
#include <cstdint>

namespace expar {

/// The upper half of a float32: 8 bits of exponent, 7 of fraction. A type of storage: arithmetic is done in float32.
struct bfloat16 {
    std::uint16_t bits = 0;

    template <std::floating_point Real>
    [[nodiscard]] explicit constexpr operator Real() const {
        return std::bit_cast<float>(std::uint32_t(bits) << 16);
    }
    friend constexpr bool operator==(bfloat16, bfloat16) = default;  ///< of bits
};

[[nodiscard]] constexpr float to_float(bfloat16 value) {
    return float(value);
}

/// To nearest, ties to even; what is not a number stays so.
[[nodiscard]] constexpr bfloat16 to_bfloat16(float value) {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    if (value != value) return {std::uint16_t(bits >> 16 | 0x40)};
    return {std::uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

}  // namespace expar
