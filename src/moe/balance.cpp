#include "expar/moe/balance.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "expar/base/names.hpp"

namespace expar {

Scope scope_named(std::string_view name) {
    constexpr std::array<Named<Scope>, 2> scopes = {{{"rank", Scope::rank}, {"all", Scope::all}}};
    return entry_named(scopes, "scope", name).value;
}

RouterStatistics& RouterStatistics::operator+=(const RouterStatistics& other) {
    tokens += other.tokens;
    dropped += other.dropped;
    for (std::size_t e = 0; e < choices.size(); ++e) {
        choices[e] += other.choices[e];
        probabilities[e] += other.probabilities[e];
    }
    squared_log_sum_exp += other.squared_log_sum_exp;
    entropy += other.entropy;
    return *this;
}

double RouterStatistics::max_over_mean() const {
    const auto total = std::accumulate(choices.begin(), choices.end(), std::int64_t{0});
    return total == 0 ? 1 : double(*std::ranges::max_element(choices)) * double(choices.size()) / double(total);
}

std::vector<RouterStatistics> sum_over_ranks(std::vector<RouterStatistics> layers, const Communicator& world) {
    // Counts are exact in float64 up to 2^53, so that one collective carries everything.
    std::vector<double> flat;
    for (const auto& layer : layers) {
        flat.insert(flat.end(),
                    {double(layer.tokens), double(layer.dropped), layer.squared_log_sum_exp, layer.entropy});
        flat.insert(flat.end(), layer.choices.begin(), layer.choices.end());
        flat.insert(flat.end(), layer.probabilities.begin(), layer.probabilities.end());
    }
    world.sum(flat, {"router statistics"});
    auto next = flat.begin();
    for (auto& layer : layers) {
        layer.tokens = std::int64_t(*next++);
        layer.dropped = std::int64_t(*next++);
        layer.squared_log_sum_exp = *next++;
        layer.entropy = *next++;
        for (auto& count : layer.choices) count = std::int64_t(*next++);
        for (auto& sum : layer.probabilities) sum = *next++;
    }
    return layers;
}

double balance_loss(const RouterStatistics& statistics, int top_k) {
    if (statistics.tokens == 0) return 0;
    const double tokens = double(statistics.tokens);
    double sum = 0;
    for (std::size_t e = 0; e < statistics.choices.size(); ++e)
        sum += double(statistics.choices[e]) / (top_k * tokens) * statistics.probabilities[e] / tokens;
    return double(statistics.choices.size()) * sum;
}

std::vector<double> balance_gradient(const RouterStatistics& statistics, int top_k, double coefficient,
                                     std::int64_t total_tokens) {
    std::vector<double> gradient(statistics.choices.size());
    if (statistics.tokens == 0) return gradient;
    for (std::size_t e = 0; e < gradient.size(); ++e) {
        const double fraction = double(statistics.choices[e]) / (double(top_k) * double(statistics.tokens));
        gradient[e] = coefficient * double(gradient.size()) * fraction / double(total_tokens);
    }
    return gradient;
}

}  // namespace expar
