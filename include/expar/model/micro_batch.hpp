#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace expar {

/// Sequences of unequal length, one after the other, without padding. A value.
struct MicroBatch {
    std::vector<int> tokens;       ///< [T]
    std::vector<int> targets;      ///< [T]; -1: bears no loss
    std::vector<int> positions;    ///< [T], from 0 in every sequence
    std::vector<int> offsets{0};   ///< [sequences + 1]
    std::int64_t first_token = 0;  ///< global index, over ranks and the micro-batches of a step, of the first token

    [[nodiscard]] int token_count() const { return int(tokens.size()); }
    [[nodiscard]] int sequence_count() const { return int(offsets.size()) - 1; }
    [[nodiscard]] int loss_count() const;

    /// Appends a sequence that predicts each next token: tokens[0 … n-1) with targets tokens[1 … n).
    void append(std::span<const int> text);

    /// A rank's share: the consecutive run of floor or ceil of sequences / ranks that is its own, possibly none.
    [[nodiscard]] MicroBatch share_of(int rank, int ranks) const;
};

}  // namespace expar
