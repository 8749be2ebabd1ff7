#pragma once

#include <array>
#include <numeric>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Rows of T of all ranks, of equal width and unequal number, in rank order, on every rank. Collective; blocks.
template <class T>
[[nodiscard]] std::vector<T> all_gather_rows(ConstRows mine, const Communicator& comm, Occasion occasion) {
    const std::vector<int> rows_of = comm.all_gather(std::array{mine.rows()}, occasion);
    const int rows = std::accumulate(rows_of.begin(), rows_of.end(), 0);
    std::vector<T> all(std::size_t(rows) * mine.cols());
    comm.start_all_gather(mine, {all.data(), rows, mine.cols(), dtype_of<T>}, rows_of, occasion).finish();
    return all;
}

}  // namespace expar
