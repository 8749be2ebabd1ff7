#pragma once

#include <cstdint>
#include <span>

#include "expar/compute/matrix_product.hpp"
#include "expar/compute/routing.hpp"
#include "expar/moe/routing.hpp"

namespace expar {

/// Where tokens stand in the run: what random numbers and the choice of a copy depend on.
struct TokenScope {
    std::uint64_t seed = 0;
    std::uint32_t step = 0;
    std::int64_t first_token = 0;  ///< global index, over ranks and micro-batches, of the first token here
};

// The router, as five steps: score → perturb → select → weigh → drop. Each is local; what drop needs of other ranks it
// is given.

/// logits [T, E] = x [T, H] · weightᵀ [E, H], of the weight's dtype
[[nodiscard]] Matrix score(ConstRows x, Weight& weight, Device& device);

/// Adds normal noise of the given standard deviation, drawn by global token and expert. 0 leaves the logits alone.
void perturb(Rows logits, double deviation, int layer, const TokenScope& scope);

/// The k experts of largest logit of each token, descending, ties to the lowest id.   [T, k] flat
[[nodiscard]] Array<int> select(ConstRows logits, int top_k, Device& device);

/// What the logits say beside the choices; the router's backward needs it.
struct Weighing {
    Matrix probabilities;  ///< [T, E], softmax over all experts
    Matrix log_sum_exp;    ///< [T, 1]
    Matrix weights;        ///< [T, k]
};
[[nodiscard]] Weighing weigh(RouterConvention convention, ConstRows logits, const Array<int>& experts, int top_k,
                             Device& device);

/// ceil(factor · k · tokens / experts): what each expert takes of the tokens of a scope. 0 for factor 0: no limit.
[[nodiscard]] int capacity_of(double factor, int top_k, std::int64_t tokens, int experts);

/// Marks as dropped every choice that finds its expert full. Choices come in (token, choice) order;
/// `taken` [E] is what earlier ranks of the scope have asked for. Capacity 0 drops nothing.
[[nodiscard]] Array<int> drop(const Array<int>& experts, int capacity, std::span<const int> taken, Device& device);

}  // namespace expar
