#include "expar/verify/plain_router.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "expar/base/error.hpp"
#include "expar/verify/plain_math.hpp"

namespace expar {
namespace {

std::span<const double> logits_of(const ModelOptions& options, std::span<const double> logits, std::size_t token) {
    return logits.subspan(token * options.experts, options.experts);
}

std::size_t tokens_of(const ModelOptions& options, std::span<const double> logits) {
    return logits.size() / options.experts;
}

// Expert ids by descending logit, ties to the lowest id.
std::vector<int> ranking(std::span<const double> logits) {
    std::vector<int> experts(logits.size());
    std::iota(experts.begin(), experts.end(), 0);
    std::ranges::stable_sort(experts, [&](int a, int b) { return logits[a] > logits[b]; });
    return experts;
}

// The router's weights stay a share of all experts, or become one of the chosen alone: a softmax of the chosen
// logits, and the same thing as renormalising the softmax of all.
bool normalises(const ModelOptions& options) {
    return options.router == "mixtral" || options.router == "gpt-oss";
}

// Places among a token's choices that hold an expert.
std::vector<std::size_t> chosen_places(std::span<const int> choices) {
    std::vector<std::size_t> places;
    for (std::size_t j = 0; j < choices.size(); ++j)
        if (choices[j] >= 0) places.push_back(j);
    return places;
}

std::vector<double> token_weights(const ModelOptions& options, std::span<const double> logits,
                                  std::span<const int> choices) {
    std::vector<double> weights(choices.size());
    const auto places = chosen_places(choices);
    if (places.empty()) return weights;
    const auto probabilities = plain_softmax(logits);
    double sum = 0;
    for (const auto j : places) sum += probabilities[choices[j]];
    for (const auto j : places) weights[j] = probabilities[choices[j]] / (normalises(options) ? sum : 1);
    return weights;
}

std::vector<double> token_weights_backward(const ModelOptions& options, std::span<const double> logits,
                                           std::span<const int> choices, std::span<const double> d_weights) {
    if (!normalises(options)) {
        std::vector<double> d_probabilities(logits.size());
        for (const auto j : chosen_places(choices)) d_probabilities[choices[j]] += d_weights[j];
        return plain_softmax_backward(plain_softmax(logits), d_probabilities);
    }
    std::vector<double> d_logits(logits.size());
    const auto weights = token_weights(options, logits, choices);
    const auto d_chosen = plain_softmax_backward(weights, d_weights);
    for (const auto j : chosen_places(choices)) d_logits[choices[j]] += d_chosen[j];
    return d_logits;
}

// Drops, in tokens first ... last - 1, every choice of an expert that has its capacity of these tokens already.
void fill_capacity(const ModelOptions& options, PlainRouting& routing, int first, int last) {
    const double capacity = std::ceil(options.capacity_factor * options.top_k * (last - first) / options.experts);
    std::vector<int> filled(options.experts);
    for (std::size_t place = std::size_t(first) * options.top_k; place < std::size_t(last) * options.top_k; ++place) {
        const int expert = routing.choices[place];
        if (expert < 0) continue;
        if (filled[expert] >= capacity) {
            routing.kept[place] = 0;
            ++routing.dropped;
        } else {
            ++filled[expert];
        }
    }
}

}  // namespace

std::vector<int> plain_choose(const ModelOptions& options, std::span<const double> logits) {
    std::vector<int> choices;
    for (std::size_t token = 0; token < tokens_of(options, logits); ++token) {
        const auto best = ranking(logits_of(options, logits, token));
        choices.insert(choices.end(), best.begin(), best.begin() + options.top_k);
    }
    return choices;
}

double plain_shortfall(const ModelOptions& options, std::span<const double> logits, std::span<const int> choices) {
    double shortfall = 0;
    for (std::size_t token = 0; token < tokens_of(options, logits); ++token) {
        const auto row = logits_of(options, logits, token);
        const auto best = ranking(row);
        const auto chosen = choices.subspan(token * options.top_k, options.top_k);
        for (const auto j : chosen_places(chosen)) {
            const int expert = chosen[j];
            if (expert >= options.experts || std::ranges::count(chosen, expert) > 1)
                throw Error(concat("plain reference: token ", token, " chose expert ", expert, " of ", options.experts,
                                   "; expected different experts"));
            shortfall = std::max(shortfall, row[best[j]] - row[expert]);
        }
    }
    return shortfall;
}

PlainRouting plain_route(const ModelOptions& options, std::span<const double> logits, std::span<const int> choices,
                         std::span<const int> rank_offsets) {
    PlainRouting routing;
    routing.logits.assign(logits.begin(), logits.end());
    routing.choices.assign(choices.begin(), choices.end());
    for (std::size_t token = 0; token < tokens_of(options, logits); ++token) {
        const auto weights = token_weights(options, logits_of(options, logits, token),
                                           choices.subspan(token * options.top_k, options.top_k));
        routing.weights.insert(routing.weights.end(), weights.begin(), weights.end());
    }
    for (const int expert : choices) routing.kept.push_back(expert >= 0);
    if (options.capacity_factor == 0) return routing;
    if (options.capacity_scope == "all") fill_capacity(options, routing, 0, rank_offsets.back());
    if (options.capacity_scope == "rank")
        for (std::size_t rank = 0; rank + 1 < rank_offsets.size(); ++rank)
            fill_capacity(options, routing, rank_offsets[rank], rank_offsets[rank + 1]);
    return routing;
}

std::vector<double> plain_route_backward(const ModelOptions& options, const PlainRouting& routing,
                                         std::span<const double> d_weights) {
    std::vector<double> d_logits;
    for (std::size_t token = 0; token < tokens_of(options, routing.logits); ++token) {
        const auto d_token =
            token_weights_backward(options, logits_of(options, routing.logits, token),
                                   std::span(routing.choices).subspan(token * options.top_k, options.top_k),
                                   d_weights.subspan(token * options.top_k, options.top_k));
        d_logits.insert(d_logits.end(), d_token.begin(), d_token.end());
    }
    return d_logits;
}

}  // namespace expar
