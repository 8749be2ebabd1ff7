#pragma once

#include <vector>

#include "expar/comm/exchange.hpp"

namespace expar {

/// What every exchange knows of its rows before it sends.
struct ExchangeShape {
    int cols = 0;
    DType dtype = DType::float32;
    std::vector<int> send_offsets;  ///< [R + 1], rows
    std::vector<int> recv_offsets;  ///< [R + 1], rows

    [[nodiscard]] std::size_t row_bytes() const { return std::size_t(cols) * size_of(dtype); }
    /// The rows of `view` to or from `peer`.
    template <class View>
    [[nodiscard]] static View part(View view, const std::vector<int>& offsets, int peer) {
        return view.slice(offsets[peer], offsets[peer + 1] - offsets[peer]);
    }
};

/// Throws Error when the views do not fit the counts. A view without rows may have any shape.
[[nodiscard]] ExchangeShape check_exchange(ConstRows send, Rows recv, const RowCounts& counts,
                                           const Communicator& comm);

/// The rows that stay on this rank.
void copy_own_rows(ConstRows send, Rows recv, const ExchangeShape& shape, int rank);

}  // namespace expar
