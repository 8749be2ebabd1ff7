#pragma once

#include <algorithm>

#include "floats.hpp"
#include "vector_kernels.hpp"

namespace expar {

/// A matrix packed in panels of columns, in scratch memory, as the right factor of products.
struct Panels {
    const ProductKernels* kernels;
    float* data;
    int depth;    ///< rows of the right factor
    int columns;  ///< columns of it

    [[nodiscard]] static std::size_t floats(const ProductKernels& kernels, int depth, int columns) {
        const int panels = (columns + kernels.panel_columns - 1) / kernels.panel_columns;
        return std::size_t(panels) * std::size_t(kernels.panel_columns) * std::size_t(depth);
    }

    /// `rows` itself: depth is its rows.
    void pack(const FloatRows<const float*>& rows) {
        depth = rows.rows;
        columns = rows.cols;
        for (int first = 0; first < columns; first += kernels->panel_columns)
            kernels->pack(rows.data + first, rows.stride, depth, width(first), panel(first));
    }

    /// The transposed of `rows`: depth is its columns.
    void pack_transposed(const FloatRows<const float*>& rows) {
        depth = rows.cols;
        columns = rows.rows;
        for (int first = 0; first < columns; first += kernels->panel_columns)
            kernels->pack_transposed(rows.row(first), rows.stride, width(first), depth, panel(first));
    }

    struct Left {
        const float* data;
        long stride;
        bool transposed;
    };
    /// c (+)= a b, of b the first `used_depth` rows and c.cols columns.
    void multiply(Left a, int used_depth, FloatRows<float*> c, bool add) const {
        for (int first = 0; first < c.cols; first += kernels->panel_columns)
            kernels->multiply({.rows = c.rows,
                               .columns = std::min(kernels->panel_columns, c.cols - first),
                               .depth = used_depth,
                               .a = a.data,
                               .a_stride = a.stride,
                               .a_transposed = a.transposed,
                               .b = panel(first),
                               .c = c.data + first,
                               .c_stride = c.stride,
                               .add = add});
    }

private:
    [[nodiscard]] int width(int first) const { return std::min(kernels->panel_columns, columns - first); }
    [[nodiscard]] float* panel(int first) const { return data + std::ptrdiff_t(first) * depth; }
};

}  // namespace expar
