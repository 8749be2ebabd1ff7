#pragma once

#include <span>
#include <vector>

#include "expar/model/model_options.hpp"

namespace expar {

/// Which experts each token of one layer and micro-batch chose, and how much each counts.
struct PlainRouting {
    std::vector<double> logits;       ///< [T, E], with noise
    std::vector<int> choices;         ///< [T, k], before capacity, by descending score; -1: none
    std::vector<double> weights;      ///< [T, k], by the router's convention; 0 where there is no choice
    std::vector<unsigned char> kept;  ///< [T, k]; 0: dropped for capacity, or no choice
    int dropped = 0;                  ///< choices that capacity dropped
};

/// The top_k experts of every token by descending logit, ties to the lowest id.
[[nodiscard]] std::vector<int> plain_choose(const ModelOptions& options, std::span<const double> logits);

/// How far, at most, a token's j-th choice scores below the j-th best of `logits`; 0 when every choice is right.
///
/// Throws Error when a token chose an expert twice, or one that does not exist.
[[nodiscard]] double plain_shortfall(const ModelOptions& options, std::span<const double> logits,
                                     std::span<const int> choices);

/// Weights, kept and dropped of the given choices. Capacity is filled in token, then choice order, in each scope.
///
/// rank_offsets  [ranks + 1], the first token of each rank
[[nodiscard]] PlainRouting plain_route(const ModelOptions& options, std::span<const double> logits,
                                       std::span<const int> choices, std::span<const int> rank_offsets);

/// d_logits [T, E] from d_weights [T, k].
[[nodiscard]] std::vector<double> plain_route_backward(const ModelOptions& options, const PlainRouting& routing,
                                                       std::span<const double> d_weights);

}  // namespace expar
