#include "expar/verify/plain_balance.hpp"

#include "expar/verify/plain_math.hpp"

namespace expar {
namespace {

struct Scope {
    int first, last;
};

// Consecutive tokens over which f and P are taken: all, or those of one rank. Scopes without tokens have no term.
std::vector<Scope> scopes(const ModelOptions& options, std::span<const int> rank_offsets) {
    std::vector<Scope> all;
    if (options.balance_scope == "all") all.push_back({0, rank_offsets.back()});
    if (options.balance_scope == "rank")
        for (std::size_t rank = 0; rank + 1 < rank_offsets.size(); ++rank)
            all.push_back({rank_offsets[rank], rank_offsets[rank + 1]});
    std::erase_if(all, [](const Scope& scope) { return scope.first == scope.last; });
    return all;
}

std::vector<double> choice_shares(const ModelOptions& options, const PlainRouting& routing, const Scope& scope) {
    std::vector<double> shares(options.experts);
    for (int token = scope.first; token < scope.last; ++token)
        for (int choice = 0; choice < options.top_k; ++choice)
            if (const int expert = routing.choices[std::size_t(token) * options.top_k + choice]; expert >= 0)
                shares[expert] += 1.0 / options.top_k / (scope.last - scope.first);
    return shares;
}

std::span<const double> logits_of(const ModelOptions& options, const PlainRouting& routing, int token) {
    return std::span(routing.logits).subspan(std::size_t(token) * options.experts, options.experts);
}

}  // namespace

double plain_balance_sum(const ModelOptions& options, const PlainRouting& routing, std::span<const int> rank_offsets) {
    double sum = 0;
    for (const Scope& scope : scopes(options, rank_offsets)) {
        const auto shares = choice_shares(options, routing, scope);
        // T_scope * P_e is the sum of expert e's probability over the tokens.
        for (int token = scope.first; token < scope.last; ++token)
            sum += options.experts * plain_dot(shares, plain_softmax(logits_of(options, routing, token)));
    }
    return sum;
}

double plain_z_sum(const ModelOptions& options, const PlainRouting& routing) {
    double sum = 0;
    for (std::size_t start = 0; start < routing.logits.size(); start += options.experts) {
        const double log_sum = plain_log_sum_exp(std::span(routing.logits).subspan(start, options.experts));
        sum += log_sum * log_sum;
    }
    return sum;
}

std::vector<double> plain_losses_backward(const ModelOptions& options, const PlainRouting& routing,
                                          std::span<const int> rank_offsets, int all_tokens) {
    std::vector<double> d_logits(routing.logits.size());
    for (const Scope& scope : scopes(options, rank_offsets)) {
        auto d_probabilities = choice_shares(options, routing, scope);
        for (double& d : d_probabilities) d *= options.balance_coefficient * options.experts / all_tokens;
        for (int token = scope.first; token < scope.last; ++token) {
            const auto logits = logits_of(options, routing, token);
            const auto probabilities = plain_softmax(logits);
            const auto d_row = plain_softmax_backward(probabilities, d_probabilities);
            const double d_log_sum = options.z_coefficient * 2 * plain_log_sum_exp(logits) / all_tokens;
            for (int expert = 0; expert < options.experts; ++expert)
                d_logits[std::size_t(token) * options.experts + expert] =
                    d_row[expert] + d_log_sum * probabilities[expert];
        }
    }
    return d_logits;
}

}  // namespace expar
