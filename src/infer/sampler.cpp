#include "expar/infer/sampler.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "expar/base/random.hpp"

namespace expar {
namespace {

// Token ids by descending logit, ties to the lowest id.
std::vector<int> by_descending_logit(std::span<const double> logits) {
    std::vector<int> tokens(logits.size());
    std::iota(tokens.begin(), tokens.end(), 0);
    std::ranges::stable_sort(tokens, [&](int a, int b) { return logits[a] > logits[b]; });
    return tokens;
}

}  // namespace

void SamplerOptions::validate() const {
    if (!std::isfinite(temperature) || temperature < 0)
        throw UserError(concat("temperature is ", temperature, "; expected a number of at least 0"));
    if (top_k < 0) throw UserError(concat("top_k is ", top_k, "; expected at least 0"));
    if (!(top_p > 0 && top_p <= 1)) throw UserError(concat("top_p is ", top_p, "; expected a number in (0, 1]"));
}

int sample(std::span<const double> logits, const SamplerOptions& options, std::uint64_t position) {
    for (std::size_t token = 0; token < logits.size(); ++token)
        if (!std::isfinite(logits[token]))
            throw UserError(concat("sampler: the logit of token ", token, " at position ", position, " is ",
                                   logits[token], ", expected a number"));
    std::vector<int> tokens = by_descending_logit(logits);
    if (options.temperature == 0) return tokens.front();
    if (options.top_k > 0) tokens.resize(std::min(tokens.size(), std::size_t(options.top_k)));

    // Not normalised: the largest is 1.
    std::vector<double> weights;
    for (const int token : tokens)
        weights.push_back(std::exp((logits[token] - logits[tokens.front()]) / options.temperature));
    const double wanted = options.top_p * std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<double> reached(weights.size());
    std::partial_sum(weights.begin(), weights.end(), reached.begin());
    const auto last =
        std::min<std::size_t>(std::ranges::lower_bound(reached, wanted) - reached.begin(), reached.size() - 1);

    const double drawn = RandomField(options.seed, Purpose::sampling).uniform(position) * reached[last];
    return tokens[std::min<std::size_t>(std::ranges::upper_bound(reached, drawn) - reached.begin(), last)];
}

int sample(ConstRows logits, const SamplerOptions& options, std::uint64_t position, Device& device) {
    if (device.memory() != MemoryKind::host) throw Error("sampler: the logits are not in the host's memory");
    device.synchronize();
    std::vector<double> values;
    with_real(logits.dtype(), [&]<class Real>(Real) {
        const auto row = logits.row<Real>(0);
        values.assign(row.begin(), row.end());
    });
    return sample(values, options, position);
}

}  // namespace expar
