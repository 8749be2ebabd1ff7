#include "expar/train/train_options.hpp"

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

#include "expar/comm/exchange.hpp"
#include "expar/comm/layout.hpp"
#include "expar/moe/dispatch_plan.hpp"

namespace expar {
namespace {

template <class Value>
void expect(bool fits, std::string_view field, const Value& value, std::string_view expected) {
    if (!fits) throw UserError(concat(field, ": ", value, ", expected ", expected));
}

void expect_one_of(std::string_view field, std::string_view value, std::span<const std::string> known) {
    if (std::ranges::find(known, value) != known.end()) return;
    std::string names;
    for (const auto& name : known) names += concat(names.empty() ? "" : ", ", name);
    throw UserError(concat("unknown ", field, " '", value, "'; known: ", names));
}

}  // namespace

void TrainOptions::validate(int ranks) const {
    const Layout layout(ranks, ep == 0 ? ranks : ep);
    expect(ranks_per_node >= 0, "ranks_per_node", ranks_per_node, "at least 0");
    expect(sequence >= 1, "sequence", sequence, "at least 1 byte");
    expect(batch >= 1, "batch", batch, "at least 1 sequence");
    expect(accumulation >= 1, "accumulation", accumulation, "at least 1 micro-batch");
    expect(steps >= 0, "steps", steps, "at least 0");
    expect(schedule_steps >= 0, "schedule_steps", schedule_steps, "at least 0");
    expect(warmup_steps >= 0, "warmup_steps", warmup_steps, "at least 0");
    expect(learning_rate >= 0, "learning_rate", learning_rate, "at least 0");
    expect(router_learning_rate_scale >= 0, "router_learning_rate_scale", router_learning_rate_scale, "at least 0");
    expect(final_fraction >= 0 && final_fraction <= 1, "final_fraction", final_fraction, "0 to 1");
    expect(beta1 >= 0 && beta1 < 1, "beta1", beta1, "0 to less than 1");
    expect(beta2 >= 0 && beta2 < 1, "beta2", beta2, "0 to less than 1");
    expect(epsilon > 0, "epsilon", epsilon, "more than 0");
    expect(weight_decay >= 0, "weight_decay", weight_decay, "at least 0");
    expect(clip >= 0, "clip", clip, "at least 0");
    expect(threads >= 1, "threads", threads, "at least 1");
    expect(timeout > 0, "timeout", timeout, "more than 0 seconds");
    expect(checkpoint_every >= 0, "checkpoint_every", checkpoint_every, "at least 0");
    expect_one_of("optimizer", optimizer, std::array<std::string, 2>{"adamw", "sgd"});
    expect_one_of("placement", placement, std::array<std::string, 2>{"linear", "shuffled"});
    expect_one_of("exchange", exchange, exchange_names());
    static_cast<void>(combine_order(combine));
}

}  // namespace expar
