#pragma once

#include "expar/base/matrix.hpp"

namespace expar {

/// A float32 or bfloat16 matrix of the host as the loops read it: checked once, not at every row.
template <class Pointer>
struct FloatRows {
    Pointer data;
    long stride;
    int rows;
    int cols;

    [[nodiscard]] Pointer row(long r) const { return data + r * stride; }
};

template <class Element>
void check_elements(DType dtype) {
    if (dtype != dtype_of<Element>)
        throw Error(concat("cpu: expected ", name_of(dtype_of<Element>), ", got ", name_of(dtype)));
}

template <class Element>
[[nodiscard]] FloatRows<const Element*> elements(ConstRows rows) {
    check_elements<Element>(rows.dtype());
    return {static_cast<const Element*>(rows.data()), rows.stride(), rows.rows(), rows.cols()};
}
template <class Element>
[[nodiscard]] FloatRows<Element*> elements(Rows rows) {
    check_elements<Element>(rows.dtype());
    return {static_cast<Element*>(rows.data()), rows.stride(), rows.rows(), rows.cols()};
}

[[nodiscard]] inline FloatRows<const float*> floats(ConstRows rows) {
    return elements<float>(rows);
}
[[nodiscard]] inline FloatRows<float*> floats(Rows rows) {
    return elements<float>(rows);
}

/// Calls `work` with a value of the type that rows are kept in.
template <class Work>
void with_storage(DType dtype, Work&& work) {
    if (dtype == DType::bfloat16) return work(bfloat16{});
    check_elements<float>(dtype);
    work(float{});
}

}  // namespace expar
