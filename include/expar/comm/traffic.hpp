#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace expar {

/// What a rank handed to MPI for each peer, counted where it is handed over, never from a plan. Rows that stay on the
/// rank count nowhere.
struct Traffic {
    std::vector<std::int64_t> rows_to;      ///< [R]
    std::vector<std::int64_t> bytes_to;     ///< [R]
    std::vector<std::int64_t> messages_to;  ///< [R], calls to MPI that carry at least a byte

    explicit Traffic(int ranks = 0) : rows_to(ranks), bytes_to(ranks), messages_to(ranks) {}
    /// One message of `rows` rows was handed over for `peer`.
    void count(int peer, int rows, std::size_t row_bytes);
    /// One message that carries no rows, but what an algorithm says about them.
    void count_beside(int peer, std::size_t bytes);
    [[nodiscard]] std::int64_t total_rows() const;
    [[nodiscard]] std::int64_t total_bytes() const;
    Traffic& operator+=(const Traffic& other);
};

}  // namespace expar
