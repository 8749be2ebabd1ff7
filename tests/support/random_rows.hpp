#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>

#include "expar/base/matrix.hpp"
#include "expar/base/random.hpp"
#include "expar/bench/kernel_case.hpp"  // relative_error

namespace expar {

/// Calls work(element, row, column) for every element, in order.
template <class Work>
void for_each_element(Rows rows, Work&& work) {
    with_element(rows.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < rows.rows(); ++r)
            for (int c = 0; c < rows.cols(); ++c) work(rows.row<Element>(r)[c], r, c);
    });
}

/// Normal numbers that depend on (seed, row, column) alone, so that devices and sizes can be compared.
inline Matrix random_matrix(Device& device, DType dtype, int rows, int cols, std::uint64_t seed, double scale = 1) {
    Matrix matrix(device, dtype, rows, cols);
    const RandomField field(seed, Purpose::test);
    for_each_element(matrix, [&]<class Element>(Element& element, int r, int c) {
        const double value = scale * field.normal(std::uint64_t(r) << 32 | std::uint64_t(c));
        element = rounded<Element>(float(value));
    });
    return matrix;
}

inline Matrix zero_matrix(Device& device, DType dtype, int rows, int cols) {
    Matrix matrix(device, dtype, rows, cols);
    matrix.zero(device.stream());
    return matrix;
}

inline double element(ConstRows rows, int r, int c) {
    double value = 0;
    with_element(rows.dtype(), [&]<class Element>(Element) { value = double(rows.row<Element>(r)[c]); });
    return value;
}

/// What rows of `dtype` may differ by, of the largest: `real` for float32; a rounding to bfloat16 the other way, half a
/// step of 2^-8 each, where two float32 lie on different sides of a tie.
inline double row_tolerance(DType dtype, double real) {
    return dtype == DType::bfloat16 ? 0x1p-7 : real;
}

inline bool same_bits(ConstRows a, ConstRows b) {
    if (a.rows() != b.rows() || a.cols() != b.cols() || a.dtype() != b.dtype()) return false;
    const auto byte = [](ConstRows rows, int r) {
        return static_cast<const std::byte*>(rows.data()) + r * rows.stride() * std::ptrdiff_t(size_of(rows.dtype()));
    };
    for (int r = 0; r < a.rows(); ++r)
        if (std::memcmp(byte(a, r), byte(b, r), a.row_bytes()) != 0) return false;
    return true;
}

}  // namespace expar
