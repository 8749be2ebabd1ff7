#pragma once

#include <span>

#include "expar/base/matrix.hpp"

namespace expar {

/// Which experts each token chose, and how much each one counts.
///
/// Made by a router for the tokens of one rank, or given: a replayed trace, forced balance.
struct Routing {
    int tokens = 0;      ///< T
    int top_k = 0;       ///< k
    Array<int> experts;  ///< [T, k], global expert ids by descending score; -1: no choice
    Matrix weights;      ///< [T, k], as the router's convention leaves them; need not sum to 1
    Array<int> kept;     ///< [T, k], 0: dropped for capacity, else 1

    [[nodiscard]] std::span<const int> experts_of(int token) const {
        return experts.host().subspan(std::size_t(token) * top_k, top_k);
    }
    [[nodiscard]] bool is_kept(int token, int choice) const {
        return kept.host()[std::size_t(token) * top_k + choice] != 0;
    }
    /// Choices that have an expert but no place.
    [[nodiscard]] int dropped() const;
};

}  // namespace expar
