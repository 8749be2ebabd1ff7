#pragma once

#include <span>
#include <vector>

#include "expar/model/model_options.hpp"
#include "expar/verify/plain_router.hpp"

namespace expar {

/// Sum over the scopes of one layer and micro-batch of T_scope * E * sum_e f_e P_e.
///
/// f_e is expert e's share of the choices before capacity, P_e the mean of the full softmax. Divided by the tokens of
/// all micro-batches it is the balance loss: 1 when balanced, up to E / k in collapse.
[[nodiscard]] double plain_balance_sum(const ModelOptions& options, const PlainRouting& routing,
                                       std::span<const int> rank_offsets);

/// Sum over tokens of (log sum exp of the logits)^2.
[[nodiscard]] double plain_z_sum(const ModelOptions& options, const PlainRouting& routing);

/// d_logits [T, E] of (balance_coefficient * balance sum + z_coefficient * z sum) / all_tokens.
[[nodiscard]] std::vector<double> plain_losses_backward(const ModelOptions& options, const PlainRouting& routing,
                                                        std::span<const int> rank_offsets, int all_tokens);

}  // namespace expar
