#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "expar/base/bfloat16.hpp"

namespace expar {

/// The types of a matrix's elements. float64 is for the reference kernels, bfloat16 for rows alone, int32 for what
/// travels beside rows.
enum class DType : std::uint8_t { float64, float32, bfloat16, int32 };

[[nodiscard]] constexpr std::size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::float64:
            return 8;
        case DType::float32:
        case DType::int32:
            return 4;
        case DType::bfloat16:
            return 2;
    }
    return 0;
}

[[nodiscard]] constexpr std::string_view name_of(DType dtype) {
    switch (dtype) {
        case DType::float64:
            return "float64";
        case DType::float32:
            return "float32";
        case DType::bfloat16:
            return "bfloat16";
        case DType::int32:
            return "int32";
    }
    return "?";
}

/// What sums over rows of `dtype`, statistics of them and a router's scores are kept in.
[[nodiscard]] constexpr DType wide(DType dtype) {
    return dtype == DType::bfloat16 ? DType::float32 : dtype;
}

template <class T>
constexpr DType dtype_of = [] {
    static_assert(sizeof(T) == 0, "not an element type of expar");
    return DType::float32;
}();
template <>
inline constexpr DType dtype_of<double> = DType::float64;
template <>
inline constexpr DType dtype_of<float> = DType::float32;
template <>
inline constexpr DType dtype_of<bfloat16> = DType::bfloat16;
template <>
inline constexpr DType dtype_of<int> = DType::int32;

/// wide(), of types of C++.
template <class Element>
using Wide = std::conditional_t<std::is_same_v<Element, bfloat16>, float, Element>;

/// An element with this value: a float32 rounded once more for bfloat16.
template <class Element>
[[nodiscard]] constexpr Element rounded(double value) {
    if constexpr (std::is_same_v<Element, bfloat16>)
        return to_bfloat16(float(value));
    else
        return Element(value);
}

}  // namespace expar
