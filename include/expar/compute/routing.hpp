#pragma once

#include <span>
#include <string>
#include <string_view>

#include "expar/base/matrix.hpp"

namespace expar {

/// How the logits of a token become the weights of its choices.
enum class RouterConvention {
    softmax_renormalized,  ///< "mixtral": softmax over all, top-k, divided by their sum
    softmax,               ///< "olmoe": softmax over all, top-k as they are
    topk_softmax,          ///< "gpt-oss": softmax over the chosen logits
    top1_probability,      ///< "switch": k = 1, keeps its probability
};

/// Throws UserError that lists the known names.
[[nodiscard]] RouterConvention router_convention(std::string_view name);
[[nodiscard]] std::string router_convention_names();  ///< "mixtral, olmoe, …"

/// Whether a token's weights sum to 1: they are then the softmax of the chosen logits, by either such convention.
[[nodiscard]] constexpr bool weights_sum_to_one(RouterConvention convention) {
    return convention == RouterConvention::softmax_renormalized || convention == RouterConvention::topk_softmax;
}

/// What the gradient of the router's logits is made of, beside the gradient of the weights.
struct RouterGradient {
    /// d L / d p_te, the same for every token t of the micro-batch: balance coefficient · E · f_e / T, over all the
    /// scope. Empty: no balance loss.   [E], in host memory
    std::span<const double> d_probability;
    double z_scale = 0;  ///< d L / d (lse_t²)
};

/// The arithmetic of the router on the logits of T tokens over E experts, which are float32 for rows of bfloat16, too.
class RoutingOperations {
public:
    virtual ~RoutingOperations() = default;

    /// The k largest logits of every token, by descending logit, ties to the lowest id.   experts [T, k] flat
    virtual void select(ConstRows logits, int top_k, std::span<int> experts, Stream& stream) const = 0;

    struct Weighed {
        Rows probabilities;  ///< [T, E], softmax over all experts
        Rows log_sum_exp;    ///< [T, 1], the logarithm of its denominator
        Rows weights;        ///< [T, k], of the choices, by the convention
    };
    virtual void weigh(RouterConvention convention, ConstRows logits, std::span<const int> experts, const Weighed& out,
                       Stream& stream) const = 0;

    /// What weigh_backward needs of weigh.
    struct Saved {
        std::span<const int> experts;
        ConstRows probabilities, log_sum_exp, weights;
    };
    /// Gradient with respect to the logits; choices are constants.   d_weights [T, k] → d_logits [T, E]
    virtual void weigh_backward(RouterConvention convention, const Saved& saved, ConstRows d_weights,
                                const RouterGradient& gradient, Rows d_logits, Stream& stream) const = 0;

    /// counts[e] = choices of expert e; -1 counts nowhere.   counts [E]
    virtual void count(std::span<const int> experts, std::span<int> counts, Stream& stream) const = 0;

    /// sums[e] = Σ_t probabilities[t][e] in float64, t ascending.   sums [E], in host memory when it returns
    virtual void sum_over_tokens(ConstRows probabilities, std::span<double> sums, Stream& stream) const = 0;

    /// Σ_t (lse_t - Σ_e p_te logit_te), t ascending, added in float64: the entropies of the tokens' full softmax, in
    /// nats.
    [[nodiscard]] virtual double sum_of_entropies(ConstRows logits, ConstRows probabilities, ConstRows log_sum_exp,
                                                  Stream& stream) const = 0;
};

}  // namespace expar
