#include "expar/model/model_options.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>
#include <utility>

#include "expar/base/error.hpp"

namespace expar {
namespace {

void expect_at_least(std::string_view field, int value, int least) {
    if (value < least) throw UserError(concat("model: ", field, " is ", value, "; expected at least ", least));
}

void expect_range(std::string_view field, double value, double least) {
    if (!std::isfinite(value) || value < least)
        throw UserError(concat("model: ", field, " is ", value, "; expected a number of at least ", least));
}

void expect_positive(std::string_view field, double value) {
    if (!std::isfinite(value) || value <= 0)
        throw UserError(concat("model: ", field, " is ", value, "; expected a number above 0"));
}

void expect_one_of(std::string_view field, std::string_view value, std::initializer_list<std::string_view> known) {
    if (std::ranges::find(known, value) != known.end()) return;
    std::string names;
    for (const auto name : known) names += concat(names.empty() ? "" : ", ", name);
    throw UserError(concat("model: ", field, " is '", value, "'; expected one of ", names));
}

void check_counts(const ModelOptions& options) {
    expect_at_least("vocabulary", options.vocabulary, 1);
    expect_at_least("layers", options.layers, 1);
    expect_at_least("hidden", options.hidden, 1);
    expect_at_least("heads", options.heads, 1);
    expect_at_least("kv_heads", options.kv_heads, 0);
    expect_at_least("head_size", options.head_size, 0);
    expect_at_least("intermediate", options.intermediate, 1);
    expect_at_least("experts", options.experts, 1);
    expect_at_least("top_k", options.top_k, 1);
    expect_at_least("moe_every", options.moe_every, 1);
    expect_at_least("dense_intermediate", options.dense_intermediate, 0);
    expect_at_least("shared_intermediate", options.shared_intermediate, 0);
}

// The widths that are products must be numbers themselves.
void check_products(const ModelOptions& options) {
    constexpr std::int64_t largest = std::numeric_limits<int>::max();
    if (const auto width = std::int64_t{options.top_k} * options.intermediate; width > largest)
        throw UserError(concat("model: top_k * intermediate is ", width, "; expected at most ", largest));
    if (const auto width = std::int64_t{options.heads} * options.head_size; width > largest)
        throw UserError(concat("model: heads * head_size is ", width, "; expected at most ", largest));
    constexpr std::int64_t most_blocks = std::int64_t{1} << 20;
    if (const auto blocks = std::int64_t{options.layers} * options.experts; blocks > most_blocks)
        throw UserError(concat("model: layers * experts is ", blocks, "; expected at most ", most_blocks));
}

void check_names(const ModelOptions& options) {
    expect_one_of("shared", options.shared, {"sum", "gated"});
    expect_one_of("activation", options.activation, {"swiglu", "gelu", "gelu_tanh", "relu"});
    expect_one_of("router", options.router, {"mixtral", "olmoe", "gpt-oss", "switch"});
    expect_one_of("qk_norm", options.qk_norm, {"none", "projection", "head"});
    expect_one_of("capacity_scope", options.capacity_scope, {"all", "rank"});
    expect_one_of("balance_scope", options.balance_scope, {"all", "rank"});
}

void check_numbers(const ModelOptions& options) {
    expect_range("router_noise", options.router_noise, 0);
    expect_range("initial_std", options.initial_std, 0);
    expect_range("capacity_factor", options.capacity_factor, 0);
    expect_range("balance_coefficient", options.balance_coefficient, 0);
    expect_range("z_coefficient", options.z_coefficient, 0);
    expect_positive("rope_theta", options.rope_theta);
    expect_positive("norm_epsilon", options.norm_epsilon);
}

void check_experts(const ModelOptions& options) {
    if (options.top_k > options.experts)
        throw UserError(concat("model: top_k is ", options.top_k, "; expected at most experts, ", options.experts));
    if (options.router == "switch" && options.top_k != 1)
        throw UserError(concat("model: top_k is ", options.top_k, "; expected 1 with router switch"));
    if (options.shared == "gated" && options.shared_intermediate == 0)
        throw UserError("model: shared_intermediate is 0; expected the width of the shared expert with shared gated");
}

void check_heads(const ModelOptions& options) {
    if (options.head_size == 0 && options.hidden % options.heads != 0)
        throw UserError(concat("model: hidden is ", options.hidden, "; expected a multiple of heads, ", options.heads,
                               ", or a head_size"));
    if (options.kv_heads != 0 && options.heads % options.kv_heads != 0)
        throw UserError(
            concat("model: kv_heads is ", options.kv_heads, "; expected a divisor of heads, ", options.heads));
    const int head_size = options.head_size != 0 ? options.head_size : options.hidden / options.heads;
    if (head_size % 2 != 0)
        throw UserError(concat("model: head_size is ", head_size, options.head_size != 0 ? "" : " (hidden / heads)",
                               "; expected an even number, rotary positions turn pairs"));
}

// swiglu has a third matrix, the gate.
std::int64_t mlp_parameters(const ModelOptions& options, int width) {
    return std::int64_t{options.activation == "swiglu" ? 3 : 2} * options.hidden * width;
}

std::int64_t attention_parameters(const ModelOptions& options) {
    const std::int64_t query = std::int64_t{options.heads} * options.head_size;
    const std::int64_t key = std::int64_t{options.kv_heads} * options.head_size;
    std::int64_t norms = 0;
    if (options.qk_norm == "projection") norms = query + key;
    if (options.qk_norm == "head") norms = 2 * std::int64_t{options.head_size};
    return options.hidden * (2 * query + 2 * key) + norms;
}

// A block of parameters is one row of a matrix. Counted in float64: the products of two ints may not fit in 64 bits.
void check_blocks(const ModelOptions& options) {
    const double hidden = options.hidden;
    const double heads = double(options.heads) * options.head_size + double(options.kv_heads) * options.head_size;
    const double matrices = options.activation == "swiglu" ? 3 : 2;
    const double width = std::max({options.intermediate, options.dense_intermediate, options.shared_intermediate});
    const std::pair<std::string_view, double> blocks[] = {{"embedding", hidden * options.vocabulary},
                                                          {"attention", 2 * hidden * heads + 2 * hidden + 2 * heads},
                                                          {"router", hidden * options.experts},
                                                          {"largest feed-forward block", hidden * width * matrices}};
    constexpr double largest = std::numeric_limits<int>::max();
    for (const auto& [name, elements] : blocks)
        if (elements > largest)
            throw UserError(concat("model: the ", name, " has ", elements, " parameters; expected at most ",
                                   std::numeric_limits<int>::max()));
}

}  // namespace

ModelOptions ModelOptions::resolved() const {
    check_counts(*this);
    check_products(*this);
    check_names(*this);
    check_numbers(*this);
    check_experts(*this);
    check_heads(*this);
    ModelOptions complete = *this;
    if (kv_heads == 0) complete.kv_heads = heads;
    if (head_size == 0) complete.head_size = hidden / heads;
    if (dense_intermediate == 0) complete.dense_intermediate = top_k * intermediate;
    check_blocks(complete);
    return complete;
}

ParameterCount count_parameters(const ModelOptions& given) {
    const ModelOptions options = given.resolved();
    const std::int64_t hidden = options.hidden;
    const std::int64_t expert = mlp_parameters(options, options.intermediate);
    std::int64_t common = (options.tied_head ? 1 : 2) * (options.vocabulary * hidden) + hidden;
    std::int64_t moe_layers = 0;
    for (int layer = 0; layer < options.layers; ++layer) {
        common += attention_parameters(options) + 2 * hidden;
        if (!options.is_moe(layer)) {
            common += mlp_parameters(options, options.dense_intermediate);
            continue;
        }
        ++moe_layers;
        common += options.experts * hidden + mlp_parameters(options, options.shared_intermediate);
        if (options.shared_intermediate > 0 && options.shared == "gated") common += hidden;
    }
    return {.total = common + moe_layers * options.experts * expert,
            .active = common + moe_layers * options.top_k * expert};
}

}  // namespace expar
