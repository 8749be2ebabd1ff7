#pragma once

#include <algorithm>
#include <vector>

#include "expar/base/random.hpp"
#include "expar/moe/routing.hpp"

namespace expar {

/// Distinct random experts and random weights for every token, by global token: the same whatever rank holds it.
inline Routing random_routing(Device& device, DType dtype, int tokens, int top_k, int experts,
                              std::int64_t first_token = 0) {
    Routing routing;
    routing.tokens = tokens;
    routing.top_k = top_k;
    routing.experts = Array<int>(device, std::size_t(tokens) * top_k);
    routing.kept = Array<int>(device, std::size_t(tokens) * top_k);
    routing.weights = Matrix(device, dtype, tokens, top_k);
    const RandomField random(7, Purpose::test);
    for (int t = 0; t < tokens; ++t) {
        std::vector<int> left(experts);
        for (int e = 0; e < experts; ++e) left[e] = e;
        for (int j = 0; j < top_k; ++j) {
            const auto index = std::uint64_t(first_token + t) * 64 + j;
            const auto pick = left.begin() + std::ptrdiff_t(random.below(left.size(), index));
            routing.experts.host()[std::size_t(t) * top_k + j] = *pick;
            routing.kept.host()[std::size_t(t) * top_k + j] = 1;
            left.erase(pick);
            with_real(dtype, [&](auto zero) {
                using T = decltype(zero);
                routing.weights.view().row<T>(t)[j] = T(0.1 + random.uniform(index));
            });
        }
    }
    return routing;
}

/// Rows of tokens, each of which depends on its global index alone: the same whatever rank holds it.
inline Matrix random_tokens(Device& device, DType dtype, int rows, int cols, std::uint64_t seed,
                            std::int64_t first_row = 0) {
    Matrix matrix(device, dtype, rows, cols);
    const RandomField random(seed, Purpose::test, 1);
    with_real(dtype, [&](auto zero) {
        using T = decltype(zero);
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < cols; ++c)
                matrix.view().row<T>(r)[c] = T(random.normal(std::uint64_t(first_row + r) * cols + c));
    });
    return matrix;
}

/// The first row of each rank when `rows` are dealt in unequal runs: rank 1 has none, the others one more than the
/// last.
inline std::vector<int> unequal_runs(int rows, int ranks) {
    std::vector<int> first(ranks + 1);
    const int sharing = ranks == 1 ? 1 : ranks - 1;
    for (int rank = 0, sharer = 0; rank < ranks; ++rank) {
        const bool none = ranks > 1 && rank == 1;
        const int begin = rows * sharer * (sharer + 1) / (sharing * (sharing + 1));
        if (!none) ++sharer;
        const int end = rows * sharer * (sharer + 1) / (sharing * (sharing + 1));
        first[rank + 1] = first[rank] + (none ? 0 : end - begin);
    }
    return first;
}

}  // namespace expar
