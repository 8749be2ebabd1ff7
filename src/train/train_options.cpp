#include "expar/train/train_options.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <string_view>

#include "expar/base/names.hpp"
#include "expar/comm/exchange.hpp"
#include "expar/comm/layout.hpp"
#include "expar/compute/cpu_device.hpp"
#include "expar/moe/dispatcher.hpp"

namespace expar {
namespace {

constexpr double longest_timeout = 1e9;  // nanoseconds of it fit in 64 bits

template <class Value>
void expect(bool fits, std::string_view field, const Value& value, std::string_view expected) {
    if (!fits) throw UserError(concat(field, ": ", value, ", expected ", expected));
}

void expect_not_negative(std::string_view field, double value) {
    expect(value >= 0, field, value, "at least 0");
    expect(std::isfinite(value), field, value, "a finite number");
}

void expect_one_of(std::string_view field, std::string_view value, std::span<const std::string> known) {
    if (std::ranges::find(known, value) != known.end()) return;
    std::string names;
    for (const auto& name : known) names += concat(names.empty() ? "" : ", ", name);
    throw UserError(concat("unknown ", field, " '", value, "'; known: ", names));
}

}  // namespace

DType row_dtype(std::string_view name) {
    constexpr std::array<Named<DType>, 2> dtypes = {{{"float32", DType::float32}, {"bf16", DType::bfloat16}}};
    return entry_named(dtypes, "dtype", name).value;
}

void TrainOptions::validate(int ranks) const {
    const Layout layout(ranks, ep == 0 ? ranks : ep);
    expect(ranks_per_node >= 0, "ranks_per_node", ranks_per_node, "at least 0");
    expect(sequence >= 1, "sequence", sequence, "at least 1 byte");
    expect(batch >= 1, "batch", batch, "at least 1 sequence");
    const std::int64_t tokens = std::int64_t{batch} * (std::int64_t{sequence} + 1);
    expect(tokens <= std::numeric_limits<int>::max(), "batch * (sequence + 1)", tokens, "at most 2147483647 bytes");
    expect(accumulation >= 1, "accumulation", accumulation, "at least 1 micro-batch");
    expect(steps >= 0, "steps", steps, "at least 0");
    expect(schedule_steps >= 0, "schedule_steps", schedule_steps, "at least 0");
    expect(warmup_steps >= 0, "warmup_steps", warmup_steps, "at least 0");
    expect_not_negative("learning_rate", learning_rate);
    expect_not_negative("router_learning_rate_scale", router_learning_rate_scale);
    expect(final_fraction >= 0 && final_fraction <= 1, "final_fraction", final_fraction, "0 to 1");
    expect(beta1 >= 0 && beta1 < 1, "beta1", beta1, "0 to less than 1");
    expect(beta2 >= 0 && beta2 < 1, "beta2", beta2, "0 to less than 1");
    expect(epsilon > 0 && std::isfinite(epsilon), "epsilon", epsilon, "a finite number above 0");
    expect_not_negative("weight_decay", weight_decay);
    expect_not_negative("clip", clip);
    expect(chunks >= 1, "chunks", chunks, "at least 1");
    expect(threads >= 1, "threads", threads, "at least 1");
    expect(timeout > 0 && timeout <= longest_timeout, "timeout", timeout, "more than 0 and at most 1e9 seconds");
    expect(checkpoint_every >= 0, "checkpoint_every", checkpoint_every, "at least 0");
    expect_one_of("optimizer", optimizer, std::array<std::string, 2>{"adamw", "sgd"});
    expect_one_of("placement", placement, std::array<std::string, 2>{"linear", "shuffled"});
    expect_one_of("dispatcher", dispatcher, dispatcher_names());
    static_cast<void>(parse_exchange(exchange, 1));
    static_cast<void>(combine_order(combine));
    static_cast<void>(row_dtype(dtype));
    if (!isa.empty()) static_cast<void>(instruction_set_named(isa));
}

}  // namespace expar
