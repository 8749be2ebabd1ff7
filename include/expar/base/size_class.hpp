#pragma once

#include <bit>
#include <cstddef>

namespace expar {

/// Which requests a pool of memory serves with each other's blocks: those of 256 bytes or fewer, and above it those up
/// to 2^n · {1, 1.25, 1.5, 1.75}. At most a fifth of a block is unused, and never touched.
struct SizeClass {
    static constexpr std::size_t count = 256;
    std::size_t index;
    std::size_t bytes;  ///< of every block of the class
};

[[nodiscard]] constexpr SizeClass size_class_of(std::size_t bytes) {
    constexpr std::size_t smallest = 256;
    if (bytes <= smallest) return {0, smallest};
    const auto exponent = std::size_t(std::bit_width(bytes - 1)) - 1;
    const std::size_t quarter = std::size_t{1} << (exponent - 2);
    const std::size_t quarters = (bytes + quarter - 1) / quarter;  // 5 … 8
    return {exponent * 4 + quarters - 5, quarters * quarter};
}

/// How a pool serves a request. Ragged groups of rows ask for other sizes in every step: larger blocks serve them, too,
/// and where none is free, a smaller one makes room for the new, so that blocks do not pile up in neighbouring classes.
struct PoolChoice {
    static constexpr std::size_t none = SizeClass::count;
    std::size_t take = none;  ///< class of the free block to hand out; none: a new one of the class asked for
    std::size_t drop = none;  ///< class of a free block to give back to the system first
};

/// `has_free(index)`: whether a block of that class is free.
template <class HasFree>
[[nodiscard]] constexpr PoolChoice choose_block(std::size_t wanted, HasFree has_free) {
    constexpr std::size_t near = 4;  // a power of two
    for (std::size_t index = wanted; index < SizeClass::count && index <= wanted + near; ++index)
        if (has_free(index)) return {.take = index};
    for (std::size_t index = wanted; index-- > 0 && index + near >= wanted;)
        if (has_free(index)) return {.drop = index};
    return {};
}

}  // namespace expar
