#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "expar/base/error.hpp"
#include "expar/base/names.hpp"
#include "expar/base/read_file.hpp"
#include "expar/bench/workload.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/moe/placement.hpp"
#include "mixture.hpp"

namespace expar {
namespace {

constexpr double default_share = 0.8;
constexpr std::size_t largest_file = std::size_t{1} << 26;
constexpr int burst_period = 8;  // steps, the last of which is the burst

/// What is asked for.
struct Request {
    const std::string& spec;
    const WorkloadShape& shape;
    std::uint64_t seed;
    std::string argument;  ///< behind the colon
    std::string file;      ///< content of the file that it names

    [[noreturn]] void refuse(const std::string& why) const { throw UserError(concat("workload ", spec, ": ", why)); }

    double number(double otherwise, double least, double most) const {
        if (argument.empty()) return otherwise;
        double value = 0;
        const char* end = argument.data() + argument.size();
        const auto parsed = std::from_chars(argument.data(), end, value);
        if (parsed.ec != std::errc() || parsed.ptr != end || !(value >= least && value <= most))
            refuse(concat("expected a number from ", least, " to ", most));
        return value;
    }
    double share() const { return number(default_share, 0, 1); }
};

RandomField preparation(const Request& request) {
    return {request.seed, Purpose::routing, 2};
}

std::vector<int> shuffled_experts(const Request& request) {
    const Placement order = shuffled_placement(1, request.shape.experts, 1, request.seed);
    const auto experts = order.experts_on(0, 0);
    return {experts.begin(), experts.end()};
}

std::vector<int> experts_of_rank(const Request& request, int rank) {
    const Placement placement = linear_placement(1, request.shape.experts, request.shape.ranks);
    const auto experts = placement.experts_on(0, rank);
    return {experts.begin(), experts.end()};
}

/// As many as a rank has, at least one.
int experts_per_rank(const Request& request) {
    return int(experts_of_rank(request, 0).size());
}

int some_rank(const Request& request) {
    return int(preparation(request).below(std::uint64_t(request.shape.ranks), 0));
}

/// Shares of which the hot experts have `share` between them and the others the rest; never nothing, since a token
/// that has all the hot ones draws its other choices from the rest.
std::vector<double> heated(const Request& request, const std::vector<int>& hot, double share) {
    constexpr double least = 1e-12;
    const int cold = request.shape.experts - int(hot.size());
    std::vector<double> shares(request.shape.experts, cold ? std::max(least, 1 - share) / cold : 0);
    for (const int expert : hot) shares[expert] = std::max(least, share) / double(hot.size());
    return shares;
}

Mixture even(const Request& request, std::vector<double> shares) {
    return {std::vector<int>(request.shape.ranks, request.shape.tokens),
            {std::move(shares)},
            [](const TokenPlace&, const RandomField&) { return std::size_t{0}; }};
}

std::unique_ptr<Workload> finished(const Request& request, Mixture mixture) {
    return make_mixture(request.spec, request.shape, request.seed, std::move(mixture));
}

std::vector<double> same_shares(const Request& request) {
    return std::vector<double>(request.shape.experts, 1.0);
}

std::unique_ptr<Workload> make_uniform(const Request& request) {
    return finished(request, even(request, same_shares(request)));
}

std::unique_ptr<Workload> make_balanced_kind(const Request& request) {
    return make_balanced(request.spec, request.shape, request.seed);
}

std::unique_ptr<Workload> make_zipf(const Request& request) {
    const double exponent = request.number(1, 0, 16);
    const auto order = shuffled_experts(request);
    std::vector<double> shares(order.size());
    for (std::size_t place = 0; place < order.size(); ++place)
        shares[order[place]] = std::pow(double(place + 1), -exponent);
    return finished(request, even(request, std::move(shares)));
}

std::unique_ptr<Workload> make_hot_expert(const Request& request) {
    return finished(request, even(request, heated(request, {shuffled_experts(request).front()}, request.share())));
}

std::unique_ptr<Workload> make_hot_experts(const Request& request) {
    auto hot = shuffled_experts(request);
    hot.resize(experts_per_rank(request));
    return finished(request, even(request, heated(request, hot, request.share())));
}

std::unique_ptr<Workload> make_hot_rank(const Request& request) {
    const auto hot = experts_of_rank(request, some_rank(request));
    if (hot.empty()) request.refuse("more ranks than experts, expected an expert on every rank");
    return finished(request, even(request, heated(request, hot, request.share())));
}

std::unique_ptr<Workload> make_spread_hot(const Request& request) {
    const int count = experts_per_rank(request);
    std::vector<int> hot;
    for (int i = 0; i < count; ++i) hot.push_back(int(std::int64_t(i) * request.shape.experts / count));
    return finished(request, even(request, heated(request, hot, request.share())));
}

std::int64_t all_tokens(const Request& request) {
    return std::int64_t(request.shape.tokens) * request.shape.ranks;
}

std::unique_ptr<Workload> make_ragged(const Request& request) {
    Mixture mixture = even(request, same_shares(request));
    std::vector<double> due;
    for (int rank = 0; rank < request.shape.ranks; ++rank) due.push_back(rank + 1);
    mixture.tokens = dealt(all_tokens(request), due);
    return finished(request, std::move(mixture));
}

std::unique_ptr<Workload> make_zero_rank(const Request& request) {
    if (request.shape.ranks < 2) request.refuse("expected 2 ranks or more");
    const int idle = some_rank(request);
    auto shares = same_shares(request);
    for (const int expert : experts_of_rank(request, idle)) shares[expert] = 0;
    const auto left = std::ranges::count(shares, 1.0);
    if (left < request.shape.top_k)
        request.refuse(concat(left, " experts on the other ranks, expected at least the ", request.shape.top_k,
                              " choices of a token"));
    Mixture mixture = even(request, std::move(shares));
    std::vector<double> due(request.shape.ranks, 1.0);
    due[idle] = 0;
    mixture.tokens = dealt(all_tokens(request), due);
    return finished(request, std::move(mixture));
}

std::unique_ptr<Workload> make_rotating(const Request& request) {
    Mixture mixture = even(request, {});
    mixture.shares.clear();
    if (request.shape.ranks > request.shape.experts)
        request.refuse("more ranks than experts, expected an expert on every rank");
    for (int rank = 0; rank < request.shape.ranks; ++rank)
        mixture.shares.push_back(heated(request, experts_of_rank(request, rank), request.share()));
    mixture.pick = [base = std::uint64_t(some_rank(request)), ranks = std::uint64_t(request.shape.ranks)](
                       const TokenPlace& place, const RandomField&) {
        return std::size_t((base + place.step) % ranks);
    };
    return finished(request, std::move(mixture));
}

std::unique_ptr<Workload> make_burst(const Request& request) {
    const auto hot = experts_of_rank(request, some_rank(request));
    if (hot.empty()) request.refuse("more ranks than experts, expected an expert on every rank");
    Mixture mixture = even(request, same_shares(request));
    mixture.shares.push_back(heated(request, hot, request.share()));
    mixture.pick = [](const TokenPlace& place, const RandomField&) {
        return std::size_t(place.step % burst_period == burst_period - 1);
    };
    return finished(request, std::move(mixture));
}

std::unique_ptr<Workload> make_correlated(const Request& request) {
    constexpr double within_group = 0.9;
    const double wanted = request.number(std::min(4, request.shape.experts), 1, request.shape.experts);
    const int size = int(wanted);
    if (wanted != size) request.refuse("expected a whole number of experts in a group");
    const auto order = shuffled_experts(request);
    Mixture mixture = even(request, {});
    mixture.shares.clear();
    for (int first = 0; first < request.shape.experts; first += size) {
        const int end = std::min(first + size, request.shape.experts);
        mixture.shares.push_back(heated(request, {order.begin() + first, order.begin() + end}, within_group));
    }
    mixture.pick = [groups = mixture.shares.size()](const TokenPlace& place, const RandomField& random) {
        return std::size_t(random.below(groups, std::uint64_t(place.token) * draws_per_token + pick_draw));
    };
    return finished(request, std::move(mixture));
}

std::unique_ptr<Workload> make_from_matrix(const Request& request) {
    const int ranks = request.shape.ranks;
    const auto amounts = parse_traffic_matrix(request.file, request.argument, ranks);
    Mixture mixture;
    std::vector<double> due;
    for (int source = 0; source < ranks; ++source) {
        due.push_back(std::accumulate(amounts[source].begin(), amounts[source].end(), 0.0));
        auto& shares = mixture.shares.emplace_back(request.shape.experts, 0.0);
        int reached = 0;
        for (int host = 0; host < ranks; ++host) {
            const auto experts = experts_of_rank(request, host);
            if (amounts[source][host] > 0) reached += int(experts.size());
            for (const int expert : experts) shares[expert] = amounts[source][host] / double(experts.size());
        }
        if (due.back() == 0)
            shares = same_shares(request);  // of no tokens
        else if (reached < request.shape.top_k)
            request.refuse(concat("rank ", source, " sends to ", reached, " experts, expected at least the ",
                                  request.shape.top_k, " choices of a token"));
    }
    mixture.tokens = dealt(all_tokens(request), due);
    mixture.pick = [](const TokenPlace& place, const RandomField&) { return std::size_t(place.rank); };
    return finished(request, std::move(mixture));
}

enum class Argument { none, optional, file };

struct Kind {
    std::string_view name;
    std::string_view parameter;
    std::string_view summary;
    std::unique_ptr<Workload> (*make)(const Request&);
    Argument argument;
};

constexpr std::array kinds = {
    Kind{"uniform", "", "every set of experts is as likely", make_uniform, Argument::none},
    Kind{"balanced", "", "every expert is chosen as often", make_balanced_kind, Argument::none},
    Kind{"zipf", "A", "the n-th expert is chosen in proportion to n^-A (default 1)", make_zipf, Argument::optional},
    Kind{"hot-expert", "SHARE", "one expert gets that share of first choices (default 0.8)", make_hot_expert,
         Argument::optional},
    Kind{"hot-experts", "SHARE", "as many experts as a rank has share it, wherever they are", make_hot_experts,
         Argument::optional},
    Kind{"hot-rank", "SHARE", "the experts of one rank share it", make_hot_rank, Argument::optional},
    Kind{"spread-hot", "SHARE", "as many experts share it, spread over the ranks", make_spread_hot, Argument::optional},
    Kind{"ragged", "", "rank r has tokens in proportion to r + 1", make_ragged, Argument::none},
    Kind{"zero-rank", "", "one rank has no tokens and its experts get none", make_zero_rank, Argument::none},
    Kind{"rotating", "SHARE", "the experts of rank (step + something) mod ranks share it", make_rotating,
         Argument::optional},
    Kind{"burst", "SHARE", "uniform, but every eighth step one rank is hot", make_burst, Argument::optional},
    Kind{"correlated", "GROUP", "a token's experts mostly come from one group of so many (default 4)", make_correlated,
         Argument::optional},
    Kind{"matrix", "FILE", "rows from rank to rank in proportion to a table of numbers", make_from_matrix,
         Argument::file},
};

struct Alias {
    std::string_view name, spec;
};

// The proposal's, in its order.
constexpr std::array aliases = {
    Alias{"W0", "balanced"}, Alias{"W1", "hot-experts"}, Alias{"W2", "hot-rank"}, Alias{"W3", "spread-hot"},
    Alias{"W4", "ragged"},   Alias{"W5", "zero-rank"},   Alias{"W6", "rotating"}, Alias{"W7", "burst"},
};

struct Parsed {
    const Kind* kind;
    std::string argument;
};

Parsed parse(const std::string& spec) {
    std::string meant = spec;
    for (const auto& alias : aliases)
        if (alias.name == spec) meant = alias.spec;
    const std::size_t colon = meant.find(':');
    const std::string name = meant.substr(0, colon);
    const std::string argument = colon == std::string::npos ? "" : meant.substr(colon + 1);
    for (const auto& kind : kinds) {
        if (kind.name != name) continue;
        if (kind.argument == Argument::none && colon != std::string::npos)
            throw UserError(concat("workload ", spec, ": ", name, " takes nothing behind a colon"));
        if (kind.argument == Argument::file && argument.empty())
            throw UserError(concat("workload ", spec, ": expected ", name, ":", kind.parameter));
        return {&kind, argument};
    }
    throw UserError(concat("unknown workload '", spec, "'; known: ", names_of(kinds), ", ", names_of(aliases)));
}

void check(const std::string& spec, const WorkloadShape& shape) {
    const auto refuse = [&](const std::string& why) { throw UserError(concat("workload ", spec, ": ", why)); };
    if (shape.ranks < 1) refuse(concat(shape.ranks, " ranks, expected at least 1"));
    if (shape.tokens < 0 || std::int64_t(shape.tokens) * shape.ranks > std::numeric_limits<int>::max())
        refuse(concat(shape.tokens, " tokens of a rank, expected 0 or more, and less than 2^31 over all ranks"));
    if (shape.experts < 1) refuse(concat(shape.experts, " experts, expected at least 1"));
    if (shape.top_k < 1 || shape.top_k > std::min(shape.experts, largest_top_k))
        refuse(concat(shape.top_k, " choices of a token, expected 1 to ", std::min(shape.experts, largest_top_k)));
}

}  // namespace

std::vector<WorkloadKind> workload_kinds() {
    std::vector<WorkloadKind> all;
    for (const auto& kind : kinds)
        all.push_back(
            {concat(kind.name, kind.parameter.empty() ? "" : ":", kind.parameter), std::string(kind.summary)});
    for (const auto& alias : aliases) all.push_back({std::string(alias.name), std::string(alias.spec)});
    return all;
}

std::unique_ptr<Workload> make_workload(const std::string& spec, const WorkloadShape& shape, std::uint64_t seed) {
    const Parsed parsed = parse(spec);
    check(spec, shape);
    const std::string file = parsed.kind->argument == Argument::file ? read_file(parsed.argument, largest_file) : "";
    return parsed.kind->make({spec, shape, seed, parsed.argument, file});
}

std::unique_ptr<Workload> make_workload(const std::string& spec, const WorkloadShape& shape, std::uint64_t seed,
                                        const Communicator& world) {
    const Parsed parsed = parse(spec);
    check(spec, shape);
    std::string file;
    if (parsed.kind->argument == Argument::file) {
        judge_on_root(world, [&] { file = read_file(parsed.argument, largest_file); });
        file = world.broadcast(std::move(file), 0, {"workload"});
    }
    return parsed.kind->make({spec, shape, seed, parsed.argument, file});
}

}  // namespace expar
