#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// Over which tokens a statistic is taken: a rank's own, or those of all ranks.
enum class Scope { rank, all };
[[nodiscard]] Scope scope_named(std::string_view name);  ///< throws UserError that lists the known names

/// What one micro-batch did to the experts of one layer, over some scope. Sums, so that scopes can be joined.
struct RouterStatistics {
    std::int64_t tokens = 0;
    std::int64_t dropped = 0;           ///< choices without a place
    std::vector<std::int64_t> choices;  ///< [E], before capacity
    std::vector<double> probabilities;  ///< [E], Σ_t p_te
    double squared_log_sum_exp = 0;     ///< Σ_t lse_t²
    double entropy = 0;                 ///< Σ_t -Σ_e p_te log p_te, nats

    explicit RouterStatistics(int experts = 0) : choices(experts), probabilities(experts) {}
    RouterStatistics& operator+=(const RouterStatistics& other);
    /// Load of the busiest expert over the mean load; 1 when nobody chose anything.
    [[nodiscard]] double max_over_mean() const;
};

/// Joins the statistics of several layers over all ranks, in one collective.
[[nodiscard]] std::vector<RouterStatistics> sum_over_ranks(std::vector<RouterStatistics> layers,
                                                           const Communicator& world);

/// E Σ_e f_e P_e with f_e = choices_e / (k T), P_e the mean probability (Fedus, Zoph, Shazeer, "Switch Transformers",
/// JMLR 23, 2022): 1 when balanced, E/k in collapse. 0 without tokens.
[[nodiscard]] double balance_loss(const RouterStatistics& statistics, int top_k);

/// d L / d p_te for every token of the scope, when this scope's loss counts T / total_tokens of `coefficient`:
/// coefficient · E · f_e / total_tokens.
[[nodiscard]] std::vector<double> balance_gradient(const RouterStatistics& statistics, int top_k, double coefficient,
                                                   std::int64_t total_tokens);

/// The statistics that f_e is taken from: those of all ranks, or this rank's own.
[[nodiscard]] const RouterStatistics& statistics_of(Scope scope, const RouterStatistics& own,
                                                    const RouterStatistics& all);

}  // namespace expar
