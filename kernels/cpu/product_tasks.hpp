#pragma once

#include <algorithm>
#include <span>
#include <vector>

namespace expar {

/// A part of one result that one thread computes.
struct ProductTask {
    std::size_t group;
    int first_row, rows;
    int first_column, columns;
};

struct ProductTaskSize {
    int rows, columns;
};

/// Cuts the results of all groups into tasks of about `size`: two or more per thread, so that none waits long for
/// another.
inline std::vector<ProductTask> cut_product(std::span<const int> rows_of_group, int columns, ProductTaskSize size,
                                            int threads) {
    constexpr int smallest = 64;  // whole panels of either instruction set
    const auto parts = [](int length, int part) { return long(length + part - 1) / part; };
    const auto count = [&] {
        long tasks = 0;
        for (const int rows : rows_of_group) tasks += parts(columns, size.columns) * parts(rows, size.rows);
        return tasks;
    };
    while (threads > 1 && std::max(size.rows, size.columns) > smallest && count() < 2L * threads)
        (size.rows > size.columns ? size.rows : size.columns) /= 2;

    std::vector<ProductTask> tasks;
    tasks.reserve(std::size_t(count()));
    for (std::size_t g = 0; g < rows_of_group.size(); ++g)
        for (int row = 0; row < rows_of_group[g]; row += size.rows)
            for (int column = 0; column < columns; column += size.columns)
                tasks.push_back({g, row, std::min(size.rows, rows_of_group[g] - row), column,
                                 std::min(size.columns, columns - column)});
    return tasks;
}

inline std::vector<int> lengths_of(std::span<const int> offsets) {
    std::vector<int> rows;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) rows.push_back(offsets[g + 1] - offsets[g]);
    return rows;
}

}  // namespace expar
