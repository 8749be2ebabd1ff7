#pragma once

#include <vector>

#include "expar/base/matrix.hpp"

namespace expar {

/// The elements of a vector as a matrix of `cols` columns.
template <class T>
Rows rows_of(std::vector<T>& values, int cols = 1) {
    return {values.data(), int(values.size()) / cols, cols, dtype_of<T>};
}
template <class T>
ConstRows rows_of(const std::vector<T>& values, int cols = 1) {
    return {values.data(), int(values.size()) / cols, cols, dtype_of<T>};
}

}  // namespace expar
