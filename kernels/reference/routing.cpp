#include "expar/compute/routing.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "operations.hpp"

namespace expar {
namespace {

// The largest logit not chosen yet, the first of equals. NaN loses against nothing, so that the ids stay valid.
template <class Real>
int next_choice(std::span<const Real> logits, std::span<const int> chosen) {
    int best = -1;
    for (int e = 0; e < int(logits.size()); ++e) {
        if (std::ranges::find(chosen, e) != chosen.end()) continue;
        if (best < 0 || logits[e] > logits[best]) best = e;
    }
    return best;
}

// Assigns the softmax of `logits` and returns the logarithm of its denominator.
template <class Real>
double softmax(std::span<const Real> logits, std::span<Real> probabilities) {
    const double largest = double(*std::ranges::max_element(logits));
    double sum = 0;
    for (const Real logit : logits) sum += std::exp(double(logit) - largest);
    const double log_sum_exp = largest + std::log(sum);
    for (std::size_t e = 0; e < logits.size(); ++e) probabilities[e] = Real(std::exp(double(logits[e]) - log_sum_exp));
    return log_sum_exp;
}

template <class Real>
void weigh_token(RouterConvention convention, std::span<const int> chosen, std::span<const Real> logits,
                 std::span<const Real> probabilities, std::span<Real> weights) {
    double largest = -HUGE_VAL;
    for (const int e : chosen)
        if (e >= 0) largest = std::max(largest, double(logits[e]));
    double sum = 0;
    for (const int e : chosen)
        if (e >= 0) sum += std::exp(double(logits[e]) - largest);
    for (std::size_t j = 0; j < chosen.size(); ++j) {
        const int e = chosen[j];
        if (e < 0)
            weights[j] = 0;
        else
            weights[j] =
                weights_sum_to_one(convention) ? Real(std::exp(double(logits[e]) - largest) / sum) : probabilities[e];
    }
}

// From d L / d probabilities of a softmax to d L / d logits: p (g - Σ g p), added.
template <class Real>
void add_softmax_gradient(std::span<const Real> probabilities, std::span<const double> gradient,
                          std::span<double> d_logits) {
    double mean = 0;
    for (std::size_t e = 0; e < probabilities.size(); ++e) mean += gradient[e] * double(probabilities[e]);
    for (std::size_t e = 0; e < probabilities.size(); ++e)
        d_logits[e] += double(probabilities[e]) * (gradient[e] - mean);
}

// The same for weights that are a softmax of the chosen logits alone.
template <class Real>
void add_chosen_gradient(std::span<const int> chosen, std::span<const Real> weights, std::span<const Real> d_weights,
                         std::span<double> d_logits) {
    double mean = 0;
    for (std::size_t j = 0; j < chosen.size(); ++j)
        if (chosen[j] >= 0) mean += double(d_weights[j]) * double(weights[j]);
    for (std::size_t j = 0; j < chosen.size(); ++j)
        if (chosen[j] >= 0) d_logits[chosen[j]] += double(weights[j]) * (double(d_weights[j]) - mean);
}

// The same for weights that are probabilities as they are.
template <class Real>
void add_probability_gradient(std::span<const int> chosen, std::span<const Real> probabilities,
                              std::span<const Real> d_weights, std::span<double> d_logits) {
    std::vector<double> gradient(probabilities.size());
    for (std::size_t j = 0; j < chosen.size(); ++j)
        if (chosen[j] >= 0) gradient[chosen[j]] += double(d_weights[j]);
    add_softmax_gradient(probabilities, gradient, d_logits);
}

class ReferenceRouting final : public RoutingOperations {
public:
    void select(ConstRows logits, int top_k, std::span<int> experts, Stream&) const override {
        if (top_k > logits.cols()) throw Error(concat("select: ", top_k, " choices of ", logits.cols(), " experts"));
        with_real(logits.dtype(), [&]<class Real>(Real) {
            for (int t = 0; t < logits.rows(); ++t)
                for (int j = 0; j < top_k; ++j) {
                    const auto chosen = experts.subspan(std::size_t(t) * top_k, j);
                    experts[std::size_t(t) * top_k + j] = next_choice<Real>(logits.row<Real>(t), chosen);
                }
        });
    }

    void weigh(RouterConvention convention, ConstRows logits, std::span<const int> experts, const Weighed& out,
               Stream&) const override {
        const int top_k = out.weights.cols();
        with_real(logits.dtype(), [&]<class Real>(Real) {
            for (int t = 0; t < logits.rows(); ++t) {
                const auto probabilities = out.probabilities.row<Real>(t);
                out.log_sum_exp.row<Real>(t)[0] = Real(softmax<Real>(logits.row<Real>(t), probabilities));
                weigh_token<Real>(convention, experts.subspan(std::size_t(t) * top_k, top_k), logits.row<Real>(t),
                                  probabilities, out.weights.row<Real>(t));
            }
        });
    }

    void weigh_backward(RouterConvention convention, const Saved& saved, ConstRows d_weights,
                        const RouterGradient& gradient, Rows d_logits, Stream&) const override {
        const int top_k = saved.weights.cols();
        with_real(saved.probabilities.dtype(), [&]<class Real>(Real) {
            std::vector<double> sum(saved.probabilities.cols());
            for (int t = 0; t < saved.probabilities.rows(); ++t) {
                const auto p = saved.probabilities.row<Real>(t);
                const double z = 2 * gradient.z_scale * double(saved.log_sum_exp.row<Real>(t)[0]);
                for (std::size_t e = 0; e < p.size(); ++e) sum[e] = z * double(p[e]);
                const auto chosen = saved.experts.subspan(std::size_t(t) * top_k, top_k);
                if (weights_sum_to_one(convention))
                    add_chosen_gradient<Real>(chosen, saved.weights.row<Real>(t), d_weights.row<Real>(t), sum);
                else
                    add_probability_gradient<Real>(chosen, p, d_weights.row<Real>(t), sum);
                if (!gradient.d_probability.empty()) add_softmax_gradient<Real>(p, gradient.d_probability, sum);
                std::ranges::transform(sum, d_logits.row<Real>(t).begin(), [](double value) { return Real(value); });
            }
        });
    }

    void count(std::span<const int> experts, std::span<int> counts, Stream&) const override {
        std::ranges::fill(counts, 0);
        for (const int e : experts)
            if (e >= 0) ++counts[e];
    }

    void sum_over_tokens(ConstRows probabilities, std::span<double> sums, Stream&) const override {
        std::ranges::fill(sums, 0.0);
        with_real(probabilities.dtype(), [&]<class Real>(Real) {
            for (int t = 0; t < probabilities.rows(); ++t)
                for (int e = 0; e < probabilities.cols(); ++e) sums[e] += double(probabilities.row<Real>(t)[e]);
        });
    }

    double sum_of_entropies(ConstRows logits, ConstRows probabilities, ConstRows log_sum_exp, Stream&) const override {
        double sum = 0;
        with_real(logits.dtype(), [&]<class Real>(Real) {
            for (int t = 0; t < logits.rows(); ++t) {
                double mean = 0;
                for (int e = 0; e < logits.cols(); ++e)
                    mean += double(probabilities.row<Real>(t)[e]) * double(logits.row<Real>(t)[e]);
                sum += double(log_sum_exp.row<Real>(t)[0]) - mean;
            }
        });
        return sum;
    }
};

}  // namespace

std::unique_ptr<RoutingOperations> make_reference_routing() {
    return std::make_unique<ReferenceRouting>();
}

}  // namespace expar
