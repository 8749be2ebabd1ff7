#pragma once

#include "expar/base/matrix.hpp"

namespace expar {

/// A float32 matrix of the host as the loops read it: checked once, not at every row.
template <class Pointer>
struct FloatRows {
    Pointer data;
    long stride;
    int rows;
    int cols;

    [[nodiscard]] Pointer row(long r) const { return data + r * stride; }
    [[nodiscard]] FloatRows slice(long first, int count) const { return {row(first), stride, count, cols}; }
    /// One after the other in memory, they can be taken for one long row.
    [[nodiscard]] bool contiguous() const { return stride == cols || rows <= 1; }
};

[[nodiscard]] inline FloatRows<const float*> floats(ConstRows rows) {
    if (rows.dtype() != DType::float32) throw Error(concat("cpu: expected float32, got ", name_of(rows.dtype())));
    return {static_cast<const float*>(rows.data()), rows.stride(), rows.rows(), rows.cols()};
}

[[nodiscard]] inline FloatRows<float*> floats(Rows rows) {
    if (rows.dtype() != DType::float32) throw Error(concat("cpu: expected float32, got ", name_of(rows.dtype())));
    return {static_cast<float*>(rows.data()), rows.stride(), rows.rows(), rows.cols()};
}

}  // namespace expar
