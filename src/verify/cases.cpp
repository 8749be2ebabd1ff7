#include "expar/verify/cases.hpp"

#include <algorithm>

#include "expar/base/random.hpp"

namespace expar {
namespace {

VerifyCase named(const std::string& name, Feature feature = Feature::none) {
    VerifyCase made;
    made.name = name;
    made.feature = feature;
    made.model.vocabulary = 61;
    made.model.layers = 2;
    made.model.hidden = 32;
    made.model.heads = 4;
    made.model.kv_heads = 2;
    made.model.intermediate = 24;
    made.model.experts = 8;
    made.model.initial_std = 0.15;  // large enough that routing and gradients are not all alike
    made.train.accumulation = verify_accumulation;
    made.train.steps = verify_steps;
    made.train.warmup_steps = 1;
    made.train.learning_rate = 1e-2;
    made.train.router_learning_rate_scale = 0.5;
    made.train.epsilon = 1e-4;  // see the tolerance on changes of weights
    made.train.clip = 0;
    return made;
}

void share(ModelOptions& model, const std::string& how) {
    model.shared_intermediate = 20;
    model.shared = how;
}

// One rank without tokens, and where there are several others, not as many on all of them.
std::string without_and_unequal(std::vector<int> tokens_of_rank) {
    if (std::erase(tokens_of_rank, 0) == 0) return "every rank had tokens";
    if (tokens_of_rank.empty()) return "no rank had tokens";
    const auto [least, most] = std::ranges::minmax(tokens_of_rank);
    return tokens_of_rank.size() == 1 || least < most ? "" : "the ranks with tokens had equally many";
}

}  // namespace

std::vector<VerifyCase> verify_cases() {
    std::vector<VerifyCase> cases;
    const auto add = [&](const std::string& name, Feature feature, const std::function<void(VerifyCase&)>& change) {
        cases.push_back(named(name, feature));
        change(cases.back());
    };
    add("top1", Feature::none, [](VerifyCase& c) {
        c.model.top_k = 1;
        c.model.router = "switch";
        c.model.activation = "gelu";
    });
    add("top2", Feature::none, [](VerifyCase& c) { c.train.exchange = "spread"; });
    add("top3", Feature::none, [](VerifyCase& c) {
        c.model.top_k = 3;
        c.train.chunks = 3;
        c.model.router = "olmoe";
        c.model.qk_norm = "projection";
    });
    add("six_experts", Feature::uneven_experts, [](VerifyCase& c) { c.model.experts = 6; });
    add("seven_experts", Feature::uneven_experts, [](VerifyCase& c) { c.model.experts = 7; });
    add("shuffled", Feature::shuffled, [](VerifyCase& c) {
        c.train.placement = "shuffled";
        c.train.exchange = "native:ranks-per-node=2";
        c.train.chunks = 2;
    });
    add("empty_rank", Feature::empty_rank, [](VerifyCase& c) {
        c.train.exchange = "spread";
        c.train.chunks = 3;
    });
    add("capacity", Feature::drops, [](VerifyCase& c) {
        c.model.capacity_factor = 0.75;
        c.train.chunks = 2;
    });
    add("capacity_by_rank", Feature::drops, [](VerifyCase& c) {
        c.model.capacity_factor = 0.75;
        c.model.capacity_scope = c.model.balance_scope = "rank";
        c.depends_on_layout = true;
    });
    add("losses", Feature::losses, [](VerifyCase& c) {
        c.model.balance_coefficient = 0.1;
        c.model.z_coefficient = 0.01;
        c.model.router = "gpt-oss";
    });
    add("clip", Feature::clipping, [](VerifyCase& c) { c.train.clip = 0.1; });
    add("shared_sum", Feature::shared_expert, [](VerifyCase& c) { share(c.model, "sum"); });
    add("shared_gated", Feature::shared_expert, [](VerifyCase& c) {
        share(c.model, "gated");
        c.train.chunks = 2;
        c.model.moe_every = 2;
        c.model.tied_head = true;
        c.model.qk_norm = "head";
    });
    add("sgd", Feature::none, [](VerifyCase& c) {
        c.train.optimizer = "sgd";
        c.train.learning_rate = 0.1;
        c.model.router_noise = 0.3;
    });
    add("reduced", Feature::none, [](VerifyCase& c) {
        c.train.combine = "reduced";
        c.train.chunks = 2;
    });
    add("node_reduced", Feature::none, [](VerifyCase& c) {
        c.train.combine = "node_reduced";
        c.train.exchange = "native:ranks-per-node=2";
        c.train.chunks = 2;
    });
    return cases;
}

MicroBatch VerifyCase::batch(int step, int micro_batch, int ranks) const {
    const RandomField random(11, Purpose::batches, std::uint32_t(micro_batch), std::uint32_t(step));
    const int sequences = feature == Feature::empty_rank ? std::max(1, ranks - 1) : 2 * ranks + 1;
    MicroBatch result;
    std::uint64_t index = 0;
    for (int s = 0; s < sequences; ++s) {
        std::vector<int> text(6 + random.below(14, index++));
        for (int& token : text) token = int(random.below(std::uint64_t(model.vocabulary), index++));
        result.append(text);
    }
    return result;
}

Placement VerifyCase::placement(const Layout& layout) const {
    return train.placement == "shuffled" ? shuffled_placement(model.layers, model.experts, layout.ep(), 5)
                                         : linear_placement(model.layers, model.experts, layout.ep());
}

std::string VerifyCase::cannot_express(const Layout& layout) const {
    if (feature == Feature::uneven_experts && model.experts % layout.ep() == 0)
        return concat(model.experts, " experts are even over EP=", layout.ep());
    if (feature == Feature::empty_rank && layout.ranks() == 1) return "one rank has all tokens";
    if (feature == Feature::shuffled && layout.ep() == 1) return "EP=1 has one place for every expert";
    return "";
}

std::string VerifyCase::did_not_act(const StepReport& report, const Layout& layout,
                                    const std::vector<int>& tokens_of_rank) const {
    switch (feature) {
        case Feature::drops:
            return report.dropped > 0 ? "" : "no choice was dropped";
        case Feature::clipping:
            return report.clip_factor < 1 ? "" : "the norm was below the limit";
        case Feature::losses:
            return report.objective > report.loss ? "" : "the losses on the router were zero";
        case Feature::empty_rank:
            return without_and_unequal(tokens_of_rank);
        case Feature::shuffled: {
            const Placement shuffled = placement(layout), linear = linear_placement(1, model.experts, layout.ep());
            return std::ranges::equal(shuffled.experts_on(0, 0), linear.experts_on(0, 0)) ? "the order is linear" : "";
        }
        case Feature::uneven_experts:
        case Feature::shared_expert:
        case Feature::none:
            return "";
    }
    return "";
}

}  // namespace expar
