#include "mixture.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <sstream>
#include <utility>

#include "expar/base/error.hpp"

namespace expar {
namespace {

std::vector<std::int64_t> first_tokens(const std::vector<int>& tokens) {
    std::vector<std::int64_t> first(tokens.size() + 1);
    std::inclusive_scan(tokens.begin(), tokens.end(), first.begin() + 1, std::plus<>(), std::int64_t{0});
    return first;
}

RankRouting empty_routing(int tokens, int top_k) {
    const std::size_t choices = std::size_t(tokens) * std::size_t(top_k);
    return {tokens, top_k, std::vector<int>(choices), std::vector<float>(choices)};
}

class MixtureWorkload final : public Workload {
public:
    MixtureWorkload(const std::string& name, const WorkloadShape& shape, std::uint64_t seed, Mixture mixture)
        : name_(name), shape_(shape), seed_(seed), mixture_(std::move(mixture)), first_(first_tokens(mixture_.tokens)) {
        for (const auto& shares : mixture_.shares)
            if (std::ranges::count_if(shares, [](double share) { return share > 0; }) < shape.top_k)
                throw Error(concat("workload ", name, ": fewer experts have a share than the ", shape.top_k,
                                   " choices of a token"));
    }
    const std::string& name() const override { return name_; }
    const WorkloadShape& shape() const override { return shape_; }

    RankRouting routing(int rank, std::uint64_t step) const override {
        const RandomField random(seed_, Purpose::routing, 0, std::uint32_t(step));
        RankRouting made = empty_routing(mixture_.tokens[rank], shape_.top_k);
        auto shares_of = mixture_.shares;
        for (int t = 0; t < made.tokens; ++t) {
            const std::int64_t token = first_[rank] + t;
            auto& shares = shares_of[mixture_.pick({step, rank, token}, random)];
            const std::size_t begin = std::size_t(t) * shape_.top_k;
            draw_experts(random, token, shares, std::span(made.experts).subspan(begin, shape_.top_k));
            draw_weights(random, token, std::span(made.weights).subspan(begin, shape_.top_k));
        }
        return made;
    }

private:
    // `shares` is left as it was.
    static void draw_experts(const RandomField& random, std::int64_t token, std::vector<double>& shares,
                             std::span<int> chosen) {
        std::array<double, largest_top_k> taken;
        for (std::size_t j = 0; j < chosen.size(); ++j) {
            const double left = std::accumulate(shares.begin(), shares.end(), 0.0);  // anew: subtracting leaves dust
            double place = left * random.uniform(std::uint64_t(token) * draws_per_token + j);
            for (std::size_t e = 0; e < shares.size() && place >= 0; ++e) {
                if (shares[e] == 0) continue;
                chosen[j] = int(e);  // the last one, should rounding leave the place behind it
                place -= shares[e];
            }
            taken[j] = std::exchange(shares[std::size_t(chosen[j])], 0);
        }
        for (std::size_t j = 0; j < chosen.size(); ++j) shares[std::size_t(chosen[j])] = taken[j];
    }

    std::string name_;
    WorkloadShape shape_;
    std::uint64_t seed_;
    Mixture mixture_;
    std::vector<std::int64_t> first_;  ///< [R + 1]
};

// A permutation of 0 … count - 1.
std::vector<int> shuffled(int count, const RandomField& random, std::uint64_t first_draw) {
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    for (int i = count - 1; i > 0; --i)
        std::swap(order[i], order[random.below(std::uint64_t(i) + 1, first_draw + std::uint64_t(i))]);
    return order;
}

// E consecutive tokens share a shuffled ring of experts and k distances; token i's choice j lies distance j behind i.
class BalancedWorkload final : public Workload {
public:
    BalancedWorkload(const std::string& name, const WorkloadShape& shape, std::uint64_t seed)
        : name_(name), shape_(shape), seed_(seed) {}
    const std::string& name() const override { return name_; }
    const WorkloadShape& shape() const override { return shape_; }

    RankRouting routing(int rank, std::uint64_t step) const override {
        const RandomField random(seed_, Purpose::routing, 0, std::uint32_t(step));
        const RandomField order(seed_, Purpose::routing, 1, std::uint32_t(step));
        RankRouting made = empty_routing(shape_.tokens, shape_.top_k);
        std::int64_t block = -1;
        std::vector<int> ring, distances;
        for (int t = 0; t < made.tokens; ++t) {
            const std::int64_t token = std::int64_t(rank) * shape_.tokens + t;
            if (std::exchange(block, token / shape_.experts) != token / shape_.experts) {
                const std::uint64_t draws = std::uint64_t(block) * 2 * std::uint64_t(shape_.experts);
                ring = shuffled(shape_.experts, order, draws);
                distances = shuffled(shape_.experts, order, draws + std::uint64_t(shape_.experts));
            }
            const std::size_t begin = std::size_t(t) * shape_.top_k;
            for (int j = 0; j < shape_.top_k; ++j)
                made.experts[begin + j] = ring[(token % shape_.experts + distances[j]) % shape_.experts];
            draw_weights(random, token, std::span(made.weights).subspan(begin, shape_.top_k));
        }
        return made;
    }

private:
    std::string name_;
    WorkloadShape shape_;
    std::uint64_t seed_;
};

double parse_amount(std::string_view word, const std::string& where) {
    double value = -1;
    const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), value);
    if (failed != std::errc() || end != word.data() + word.size() || !std::isfinite(value) || value < 0)
        throw UserError(concat(where, ": '", word, "', expected a number of at least 0"));
    return value;
}

}  // namespace

std::unique_ptr<Workload> make_mixture(const std::string& name, const WorkloadShape& shape, std::uint64_t seed,
                                       Mixture mixture) {
    return std::make_unique<MixtureWorkload>(name, shape, seed, std::move(mixture));
}

std::unique_ptr<Workload> make_balanced(const std::string& name, const WorkloadShape& shape, std::uint64_t seed) {
    return std::make_unique<BalancedWorkload>(name, shape, seed);
}

void draw_weights(const RandomField& random, std::int64_t token, std::span<float> weights) {
    const std::uint64_t first = std::uint64_t(token) * draws_per_token + first_weight_draw;
    for (std::size_t j = 0; j < weights.size(); ++j) weights[j] = float(1 + random.below(16, first + j)) / 16;
    std::ranges::sort(weights, std::ranges::greater());
}

std::vector<int> dealt(std::int64_t total, const std::vector<double>& due) {
    const double sum = std::accumulate(due.begin(), due.end(), 0.0);
    std::vector<int> tokens;
    double before = 0;
    std::int64_t first = 0;
    for (std::size_t r = 0; r < due.size(); ++r) {
        before += due[r];
        const bool last = std::all_of(due.begin() + std::ptrdiff_t(r) + 1, due.end(), [](double d) { return d == 0; });
        const std::int64_t end = last ? total : std::int64_t(double(total) * before / sum);
        tokens.push_back(int(end - first));
        first = end;
    }
    return tokens;
}

std::vector<std::vector<double>> parse_traffic_matrix(const std::string& text, const std::string& name, int ranks) {
    std::vector<std::vector<double>> rows;
    std::istringstream lines(text);
    std::string line;
    for (int number = 1; std::getline(lines, line); ++number) {
        std::ranges::replace(line, ',', ' ');
        if (line.starts_with('#')) continue;
        std::istringstream words(line);
        std::vector<double> row;
        const std::string where = concat(name, ":", number);
        for (std::string word; words >> word;) row.push_back(parse_amount(word, where));
        if (row.empty()) continue;
        if (int(row.size()) != ranks)
            throw UserError(concat(where, ": ", row.size(), " numbers, expected ", ranks, ", one for each rank"));
        rows.push_back(std::move(row));
    }
    if (int(rows.size()) != ranks)
        throw UserError(concat(name, ": ", rows.size(), " lines of numbers, expected ", ranks, ", one for each rank"));
    if (std::ranges::all_of(rows,
                            [](const auto& row) { return std::ranges::all_of(row, [](double a) { return a == 0; }); }))
        throw UserError(concat(name, ": nobody sends anything"));
    return rows;
}

}  // namespace expar
