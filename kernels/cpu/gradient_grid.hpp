#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "expar/base/matrix.hpp"
#include "expar/compute/matrix_product.hpp"
#include "floats.hpp"

namespace expar {

/// Rows of a group whose weight gradient takes longer to write than to sum.
inline constexpr int few_rows = 128;

struct Writing {
    Write write;
    bool past_caches;
};

/// A part of one group's weight gradient that one thread computes.
struct GradientPart {
    std::size_t group;
    int row, rows;
    int column, columns;

    [[nodiscard]] Rows of(std::span<const Rows> gradients) const {
        return gradients[group].slice(row, rows).columns(column, columns);
    }
};

/// The weight gradients of all groups cut into tasks of at most so many rows and columns. Each thread gets some.
class GradientGrid {
public:
    GradientGrid(std::span<const Rows> gradients, int most, int threads) : groups_(long(gradients.size())) {
        if (groups_ == 0) return;
        rows_ = gradients.front().rows();
        columns_ = gradients.front().cols();
        part_rows_ = part_columns_ = most;
        while (threads > 1 && part_rows_ > least && count() < 4L * threads)
            (part_rows_ >= part_columns_ ? part_rows_ : part_columns_) /= 2;
    }

    [[nodiscard]] long count() const { return groups_ * row_parts() * column_parts(); }

    /// Task i of count(): a group's parts follow each other.
    [[nodiscard]] GradientPart at(long i) const {
        const int row = int(i / column_parts() % row_parts()) * part_rows_;
        const int column = int(i % column_parts()) * part_columns_;
        return {std::size_t(i / column_parts() / row_parts()), row, std::min(part_rows_, rows_ - row), column,
                std::min(part_columns_, columns_ - column)};
    }

private:
    static constexpr int least = 128;
    [[nodiscard]] int row_parts() const { return (rows_ + part_rows_ - 1) / part_rows_; }
    [[nodiscard]] int column_parts() const { return (columns_ + part_columns_ - 1) / part_columns_; }

    long groups_;
    int rows_ = 0, columns_ = 0;
    int part_rows_ = 1, part_columns_ = 1;
};

/// Whether these are better written past the caches, which then need not read them first: little would be left there
/// when a step, which makes several as large and reads as much, comes to use them.
[[nodiscard]] inline bool leave_caches(std::span<const Rows> gradients) {
    static const long cache = std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 32L << 20);
    std::size_t bytes = 0;
    for (const Rows& gradient : gradients) bytes += gradient.bytes();
    return bytes > std::size_t(cache) / 8;
}

/// Whether every row starts a line of the cache.
[[nodiscard]] inline bool starts_lines(const FloatRows<float*>& rows) {
    constexpr int line = 64;
    return reinterpret_cast<std::uintptr_t>(rows.data) % line == 0 && rows.stride % (line / long(sizeof(float))) == 0;
}

}  // namespace expar
