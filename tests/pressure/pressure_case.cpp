#include "pressure_case.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "expar/moe/dispatcher.hpp"

namespace expar {
namespace {

// Most cases are small, so that there are many; a few store past the caches and have pools grow.
struct Size {
    std::string_view name;
    int tokens, hidden, experts, plans;  // at most
};
constexpr Size small = {"small", 8, 64, 8, 5}, medium = {"medium", 64, 300, 24, 4}, large = {"large", 600, 1100, 40, 2};

enum class Share { routing = 1, placement, rest };

Dice dice_of(const PressureNumber& number, Share share) {
    return {number.seed * 64 + std::uint64_t(number.ranks), std::uint32_t(number.index), std::uint32_t(share)};
}

const Size& size_of_case(Dice& dice) {
    const int roll = dice.below(40);
    return roll == 0 ? large : roll < 10 ? medium : small;
}

// Every expert on one to all members, in an order of its own; members may have none.
Placement random_placement(Dice& dice, int experts, int members, int layers) {
    const bool copies = dice.once_in(2), crowded = dice.once_in(4);
    const std::vector<std::vector<int>> empty(std::size_t(members), std::vector<int>{});
    std::vector<std::vector<std::vector<int>>> slots(std::size_t(layers), empty);
    for (auto& layer : slots)
        for (int e = 0; e < experts; ++e) {
            std::vector<int> order(std::size_t(members), 0);
            std::iota(order.begin(), order.end(), 0);
            for (int i = members - 1; i > 0; --i)
                std::swap(order[std::size_t(i)], order[std::size_t(dice.below(i + 1))]);
            // Crowded: the first members get all, the others nothing.
            if (crowded) std::ranges::sort(order);
            const int hosts = copies ? dice.between(1, std::min(members, 3)) : 1;
            for (int h = 0; h < hosts; ++h) {
                auto& here = layer[std::size_t(order[std::size_t(h)])];
                here.insert(here.begin() + dice.below(int(here.size()) + 1), e);
            }
        }
    return {experts, slots};
}

Placement placement_of(Dice& dice, int experts, int members, int layers) {
    switch (dice.below(4)) {
        case 0:
            return linear_placement(layers, experts, members);
        case 1:
            return shuffled_placement(layers, experts, members, std::uint64_t(dice.below(1000)));
        default:
            return random_placement(dice, experts, members, layers);
    }
}

std::vector<int> tokens_of_ranks(Dice& dice, int ranks, int most) {
    std::vector<int> tokens(std::size_t(ranks), 0);
    const int shape = dice.below(8);
    if (shape == 0) return tokens;  // nobody has any
    if (shape == 1) {               // one has all
        tokens[std::size_t(dice.below(ranks))] = dice.between(1, most);
        return tokens;
    }
    const int equal = dice.between(1, most);
    for (int& count : tokens) count = shape < 4 ? equal : dice.below(most + 1);
    if (shape == 4) tokens[std::size_t(dice.below(ranks))] = 0;
    return tokens;
}

constexpr std::array<std::string_view, 7> routing_names = {"uniform",  "skewed",     "hot expert", "hot rank",
                                                           "own rank", "no choices", "holes"};

// Draws the experts of one token in the order in which they are best liked.
class Chooser {
public:
    Chooser(Dice& dice, const PressureCase& made, std::string_view name)
        : dice_(dice),
          case_(made),
          name_(name),
          hot_(dice.below(made.placement.experts())),
          hot_rank_(dice.below(made.placement.members())) {}

    [[nodiscard]] std::vector<int> choose(int rank, int top_k) {
        const int experts = case_.placement.experts();
        std::vector<int> order(std::size_t(experts), 0);
        std::iota(order.begin(), order.end(), 0);
        const auto shuffled = std::min(top_k, experts - 1);
        for (int i = 0; i < shuffled; ++i) {
            int other = dice_.between(i, experts - 1);
            if (name_ == "skewed")
                other = std::min({other, dice_.between(i, experts - 1), dice_.between(i, experts - 1)});
            std::swap(order[std::size_t(i)], order[std::size_t(other)]);
        }
        if (name_ == "hot expert") std::iter_swap(order.begin(), std::ranges::find(order, hot_));
        if (name_ == "hot rank") prefer(order, hot_rank_);
        if (name_ == "own rank") prefer(order, rank);
        order.resize(std::size_t(top_k));
        for (int& expert : order)
            if (name_ == "no choices" || (name_ == "holes" && dice_.once_in(3))) expert = -1;
        return order;
    }

private:
    void prefer(std::vector<int>& order, int rank) const {
        std::ranges::stable_partition(order, [&](int expert) {
            return std::ranges::count(case_.placement.hosts_of(case_.layer, expert), rank) > 0;
        });
    }

    Dice& dice_;
    const PressureCase& case_;
    std::string_view name_;
    int hot_, hot_rank_;
};

PressurePlan plan_of(Dice& dice, const PressureCase& made, const Size& size) {
    const int ranks = made.placement.members();
    const int top_k = dice.between(1, std::min({made.placement.experts(), 16, dice.once_in(4) ? 16 : 4}));
    PressurePlan plan;
    plan.name = routing_names[std::size_t(dice.below(int(routing_names.size()) + 3)) % routing_names.size()];
    plan.row_bytes = std::size_t(made.hidden) * size_of(made.dtype);
    if (dice.once_in(4)) plan.row_bytes = dice.once_in(2) ? 0 : 1;
    const bool drops = dice.once_in(4);
    Chooser chooser(dice, made, plan.name);
    for (const int tokens : tokens_of_ranks(dice, ranks, size.tokens)) {
        RankRouting routing{.tokens = tokens, .top_k = top_k, .experts = {}, .weights = {}};
        std::vector<int> kept;
        for (int t = 0; t < tokens; ++t)
            for (const int expert : chooser.choose(int(plan.all.size()), top_k)) {
                routing.experts.push_back(expert);
                const float sixteenths = float(dice.between(1, 16)) / 16;
                routing.weights.push_back(made.random_values ? sixteenths * 0.77f : sixteenths);
                kept.push_back(!(drops && dice.once_in(3)));
            }
        plan.all.push_back(std::move(routing));
        plan.kept.push_back(std::move(kept));
    }
    return plan;
}

// At random, one pass's own movements in order.
std::vector<PressureStep> random_steps(Dice& dice, int passes) {
    std::vector<int> begun(std::size_t(passes), 0);
    std::vector<PressureStep> steps;
    while (int(steps.size()) < passes * pressure_movements) {
        const int pass = dice.below(passes);
        int& next = begun[std::size_t(pass)];
        if (next < pressure_movements) steps.push_back({pass, PressureMovement(next++)});
    }
    return steps;
}

void choose_kinds(Dice& dice, PressureCase& made) {
    made.dispatcher = dice.one_of(dispatcher_names());
    made.exchange = dice.one_of(exchange_names());
    if (dice.once_in(2)) made.nodes = concat(":ranks-per-node=", dice.between(1, 3));
    made.exchange += made.nodes;
    made.device = dice.once_in(3) ? "reference" : "cpu";
    made.order = combine_orders[std::size_t(dice.below(int(combine_orders.size())))].value;
    made.random_values = dice.once_in(2);
    constexpr std::array types = {DType::bfloat16, DType::float32, DType::float64};
    made.dtype = types[std::size_t(dice.below(made.device == "cpu" ? 2 : 3))];
}

}  // namespace

std::vector<RankRouting> PressurePlan::served() const {
    std::vector<RankRouting> served = all;
    for (std::size_t rank = 0; rank < all.size(); ++rank)
        for (std::size_t i = 0; i < kept[rank].size(); ++i)
            if (!kept[rank][i]) served[rank].experts[i] = -1;
    return served;
}

std::string_view name_of(PressureMovement movement) {
    constexpr std::array<std::string_view, pressure_movements> names = {"dispatch", "combine", "combine backward",
                                                                        "dispatch backward"};
    return names[std::size_t(movement)];
}

PressureCase make_pressure_case(const PressureNumber& number) {
    Dice dice = dice_of(number, Share::rest), places = dice_of(number, Share::placement),
         routes = dice_of(number, Share::routing);
    const Size& size = size_of_case(dice);
    PressureCase made;
    choose_kinds(dice, made);
    if (made.device == "reference" && size.name == large.name) made.device = "cpu", made.dtype = DType::bfloat16;
    // Often a width that a vector fits, often its neighbour.
    made.hidden = std::max(1, dice.once_in(2) ? dice.between(1, size.hidden)
                                              : dice.between(1, size.hidden / 16) * 16 + dice.between(-1, 1));
    const int layers = dice.between(1, 2);
    made.layer = dice.below(layers);
    made.placement = placement_of(places, dice.between(1, size.experts), number.ranks, layers);
    const int plans = dice.between(1, size.plans);
    for (int i = 0; i < plans; ++i) made.plans.push_back(plan_of(routes, made, size));
    const int passes = plans + (dice.once_in(3) ? dice.between(1, 2) : 0);
    for (int i = 0; i < passes; ++i)
        made.passes.push_back({.plan = i < plans ? i : dice.below(plans),
                               .lends_outputs = !dice.once_in(4),
                               .keeps_rows = dice.once_in(2)});
    made.steps = random_steps(dice, passes);
    return made;
}

std::string PressureCase::describe() const {
    std::string text = concat(dispatcher, " on ", exchange, ", ", device, " device, ", name_of(dtype), " rows of ",
                              hidden, ", ", name_of(order), ", ", placement.experts(), " experts, ", passes.size(),
                              " passes, ", random_values ? "random values" : "the oracle's values");
    for (const PressurePlan& plan : plans) {
        text += concat("; ", plan.name, ", top-", plan.all.front().top_k, ", tokens");
        for (const RankRouting& routing : plan.all) text += concat(' ', routing.tokens);
    }
    return text;
}

bool begins_anew(const PressureNumber& number) {
    Dice dice(number.seed, std::uint32_t(number.index));
    return number.index == 0 || dice.once_in(48);
}

int beginning_of(PressureNumber number) {
    while (!begins_anew(number)) --number.index;
    return number.index;
}

}  // namespace expar
