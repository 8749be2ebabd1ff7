#pragma once

#include <span>

#include "expar/comm/communicator.hpp"

namespace expar {

struct RowsFrom {
    int rank = 0;
    Rows rows;
};
struct RowsTo {
    int rank = 0;
    ConstRows rows;
};

/// Starts to receive rows from some ranks and to send rows to some, in messages of `message_bytes` at most, unless one
/// row takes more.
///
/// Views are contiguous, their rows all of one length and type. Both sides of a pair know the number of rows and pass
/// equal `message_bytes`. Rows of a pair arrive in the order of the calls. Does not block.
[[nodiscard]] Transfer start_messages(const Communicator& comm, std::span<const RowsFrom> from,
                                      std::span<const RowsTo> to, std::size_t message_bytes, Occasion occasion);

}  // namespace expar
