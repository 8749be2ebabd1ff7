#include "expar/compute/routing.hpp"

#include <algorithm>
#include <cmath>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_tokens = 256;

// Inserts every expert among the best so far, behind its equals.
void select_of_token(const float* logits, int experts, std::span<int> chosen) {
    std::size_t count = 0;
    for (int e = 0; e < experts; ++e) {
        if (count == chosen.size() && !(logits[e] > logits[chosen.back()])) continue;
        std::size_t at = count < chosen.size() ? count++ : count - 1;
        for (; at > 0 && logits[e] > logits[chosen[at - 1]]; --at) chosen[at] = chosen[at - 1];
        chosen[at] = e;
    }
}

void weigh_chosen(std::span<const int> chosen, const float* logits, float* weights) {
    float largest = -HUGE_VALF;
    for (const int e : chosen)
        if (e >= 0) largest = std::max(largest, logits[e]);
    float sum = 0;
    for (std::size_t j = 0; j < chosen.size(); ++j)
        sum += weights[j] = chosen[j] < 0 ? 0 : std::exp(logits[chosen[j]] - largest);
    for (std::size_t j = 0; j < chosen.size(); ++j) weights[j] = chosen[j] < 0 ? 0 : weights[j] / sum;
}

// d_logits += p (g - Σ g p): the gradient of a softmax.
void add_softmax_gradient(const float* probabilities, std::span<const double> gradient, double* d_logits) {
    double mean = 0;
    for (std::size_t e = 0; e < gradient.size(); ++e) mean += gradient[e] * double(probabilities[e]);
    for (std::size_t e = 0; e < gradient.size(); ++e) d_logits[e] += double(probabilities[e]) * (gradient[e] - mean);
}

void add_chosen_gradient(std::span<const int> chosen, const float* weights, const float* d_weights, double* d_logits) {
    double mean = 0;
    for (std::size_t j = 0; j < chosen.size(); ++j)
        if (chosen[j] >= 0) mean += double(d_weights[j]) * double(weights[j]);
    for (std::size_t j = 0; j < chosen.size(); ++j)
        if (chosen[j] >= 0) d_logits[chosen[j]] += double(weights[j]) * (double(d_weights[j]) - mean);
}

class CpuRouting final : public RoutingOperations {
public:
    explicit CpuRouting(CpuContext context)
        : threads_(context.threads), softmax_(context.kernels.softmax), rows_(context.kernels.rows.wide) {}

    void select(ConstRows logits, int top_k, std::span<int> experts, Stream&) const override {
        if (top_k > logits.cols()) throw Error(concat("select: ", top_k, " choices of ", logits.cols(), " experts"));
        const auto from = floats(logits);
        threads_.for_each_range(from.rows, grain_tokens, [&](long first, long last) {
            for (long t = first; t < last; ++t)
                select_of_token(from.row(t), from.cols, experts.subspan(std::size_t(t * top_k), std::size_t(top_k)));
        });
    }

    void weigh(RouterConvention convention, ConstRows logits, std::span<const int> experts, const Weighed& out,
               Stream&) const override {
        const auto from = floats(logits);
        const auto softmax = floats(out.probabilities);
        const auto lse = floats(out.log_sum_exp);
        const auto chosen_weights = floats(out.weights);
        const auto top_k = std::size_t(chosen_weights.cols);
        threads_.for_each_range(from.rows, grain_tokens, [&](long first, long last) {
            for (long t = first; t < last; ++t) {
                const float largest = softmax_.largest(from.row(t), from.cols);
                const float sum = softmax_.exponentials(largest, from.row(t), softmax.row(t), from.cols);
                *lse.row(t) = float(double(largest) + std::log(double(sum)));
                rows_.scale(1 / sum, softmax.row(t), softmax.row(t), from.cols);
                const auto chosen = experts.subspan(std::size_t(t) * top_k, top_k);
                float* weight = chosen_weights.row(t);
                if (weights_sum_to_one(convention))
                    weigh_chosen(chosen, from.row(t), weight);
                else
                    for (std::size_t j = 0; j < top_k; ++j) weight[j] = chosen[j] < 0 ? 0 : softmax.row(t)[chosen[j]];
            }
        });
    }

    void weigh_backward(RouterConvention convention, const Saved& saved, ConstRows d_weights,
                        const RouterGradient& gradient, Rows d_logits, Stream&) const override {
        const auto p = floats(saved.probabilities);
        const auto lse = floats(saved.log_sum_exp);
        const auto w = floats(saved.weights);
        const auto d_w = floats(d_weights);
        const auto to = floats(d_logits);
        const auto top_k = std::size_t(w.cols);
        threads_.for_each_range(p.rows, grain_tokens, [&](long first, long last) {
            std::vector<double> sum(std::size_t(p.cols)), d_probability(std::size_t(p.cols));
            for (long t = first; t < last; ++t) {
                const auto chosen = saved.experts.subspan(std::size_t(t) * top_k, top_k);
                const double z = 2 * gradient.z_scale * double(*lse.row(t));
                for (int e = 0; e < p.cols; ++e) sum[e] = z * double(p.row(t)[e]);
                if (gradient.d_probability.empty())
                    std::ranges::fill(d_probability, 0.0);
                else
                    std::ranges::copy(gradient.d_probability, d_probability.begin());
                if (weights_sum_to_one(convention))
                    add_chosen_gradient(chosen, w.row(t), d_w.row(t), sum.data());
                else
                    for (std::size_t j = 0; j < top_k; ++j)
                        if (chosen[j] >= 0) d_probability[chosen[j]] += double(d_w.row(t)[j]);
                add_softmax_gradient(p.row(t), d_probability, sum.data());
                for (int e = 0; e < p.cols; ++e) to.row(t)[e] = float(sum[e]);
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
        const auto from = floats(probabilities);
        for (int t = 0; t < from.rows; ++t)
            for (int e = 0; e < from.cols; ++e) sums[e] += double(from.row(t)[e]);
    }

    double sum_of_entropies(ConstRows logits, ConstRows probabilities, ConstRows log_sum_exp, Stream&) const override {
        const auto scores = floats(logits);
        const auto p = floats(probabilities);
        const auto lse = floats(log_sum_exp);
        double sum = 0;
        for (int t = 0; t < p.rows; ++t)
            sum += double(*lse.row(t)) - double(rows_.dot(p.row(t), scores.row(t), p.cols));
        return sum;
    }

private:
    const Threads& threads_;
    const SoftmaxKernels& softmax_;
    const RowKernels<float>& rows_;
};

}  // namespace

std::unique_ptr<RoutingOperations> make_cpu_routing(CpuContext context) {
    return std::make_unique<CpuRouting>(context);
}

}  // namespace expar
