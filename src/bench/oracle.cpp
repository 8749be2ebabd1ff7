#include "expar/bench/oracle.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "expar/base/error.hpp"

namespace expar {
namespace {

enum Pattern { token_rows = 1, gradient_rows, expert_offsets, expert_gradient_offsets };

// Every bit of the input reaches every bit of the result (the finaliser of SplitMix64). Odd, so that columns differ.
std::uint64_t key_of(Pattern pattern, int a, int b) {
    std::uint64_t key = std::uint64_t(pattern) << 60 ^ std::uint64_t(std::uint32_t(a)) << 32 ^ std::uint32_t(b);
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9;
    key = (key ^ key >> 27) * 0x94D049BB133111EB;
    return (key ^ key >> 31) | 1;
}

// A whole number of that many bits, its sign among them, for a column.
template <int bits>
float number_at(std::uint64_t key, std::size_t column) {
    return float(std::int64_t(key * (2 * column + 1)) >> (64 - bits));
}

float token_value(std::uint64_t key, std::size_t column) {
    return number_at<5>(key, column);  // -16 … 15
}

// An expert's transform: |factor| at most 3, so that outputs of tokens lie within ±80, gradients within ±32.
float factor_of(int expert) {
    constexpr std::array<float, 6> factors = {1, -1, 2, -2, 3, -3};
    return factors[std::size_t(expert) % factors.size()];
}
float gradient_factor_of(int expert) {
    return expert % 2 ? -1.f : 1.f;
}

template <class Element>
float rounded_once(float value) {
    return float(rounded<Element>(value));
}

}  // namespace

DispatchOracle::DispatchOracle(const RoutedLayer& routed, int member, CombineOrder order, RowShape rows,
                               Topology topology)
    : member_(member), order_(order), topology_(std::move(topology)), shape_(rows) {
    if (int(routed.all.size()) != routed.placement->members() || member < 0 || member >= int(routed.all.size()))
        throw Error(concat("oracle: member ", member, " of a routing of ", routed.all.size(),
                           " ranks and a placement of ", routed.placement->members()));
    tokens_ = routed.all[member].tokens;
    top_k_ = routed.all[member].top_k;
    list_choices(routed);
    list_expert_rows(routed);
}

void DispatchOracle::list_choices(const RoutedLayer& routed) {
    std::int64_t first = 0;
    for (int source = 0; source < member_; ++source) first += routed.all[source].tokens;
    const auto& own = routed.all[member_];
    for (int t = 0; t < tokens_; ++t)
        for (int j = 0; j < top_k_; ++j) {
            const std::size_t i = std::size_t(t) * top_k_ + j;
            const int expert = own.experts[i];
            const int host = expert < 0 ? -1 : routed.placement->host_for(routed.layer, expert, first + t);
            choices_.push_back({expert, host, own.weights[i]});
        }
}

void DispatchOracle::list_expert_rows(const RoutedLayer& routed) {
    const auto experts_here = routed.placement->experts_on(routed.layer, member_);
    std::vector<int> slot_of(routed.placement->experts(), -1);
    for (std::size_t slot = 0; slot < experts_here.size(); ++slot) slot_of[experts_here[slot]] = int(slot);
    std::vector<std::vector<ExpertRow>> by_slot(experts_here.size());
    std::int64_t global_token = 0;
    for (int source = 0; source < int(routed.all.size()); ++source)
        for (int t = 0; t < routed.all[source].tokens; ++t, ++global_token)
            for (int j = 0; j < routed.all[source].top_k; ++j) {
                const std::size_t i = std::size_t(t) * routed.all[source].top_k + j;
                const int expert = routed.all[source].experts[i];
                if (expert < 0 || routed.placement->host_for(routed.layer, expert, global_token) != member_) continue;
                by_slot[slot_of[expert]].push_back({expert, source, t, routed.all[source].weights[i]});
            }
    for (const auto& rows : by_slot) here_.insert(here_.end(), rows.begin(), rows.end());
}

void DispatchOracle::fill_own(Rows rows, int pattern) const {
    with_element(rows.dtype(), [&]<class Element>(Element) {
        for (int t = 0; t < rows.rows(); ++t) {
            const std::uint64_t key = key_of(Pattern(pattern), member_, t);
            const auto row = rows.row<Element>(t);
            for (std::size_t c = 0; c < row.size(); ++c) row[c] = rounded<Element>(token_value(key, c));
        }
    });
}

void DispatchOracle::fill_tokens(Rows x) const {
    fill_own(x, token_rows);
}
void DispatchOracle::fill_output_gradients(Rows d_y) const {
    fill_own(d_y, gradient_rows);
}

void DispatchOracle::apply_experts(ConstRows rows, Rows outputs) const {
    with_element(rows.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < rows.rows() && r < expert_rows(); ++r) {
            const float factor = factor_of(here_[r].expert);
            const std::uint64_t offsets = key_of(expert_offsets, here_[r].expert, 0);
            const auto in = rows.row<Element>(r);
            const auto out = outputs.row<Element>(r);
            for (std::size_t c = 0; c < in.size(); ++c)
                out[c] = rounded<Element>(factor * float(in[c]) + number_at<6>(offsets, c));
        }
    });
}

void DispatchOracle::apply_experts_backward(ConstRows d_outputs, Rows d_rows) const {
    with_element(d_outputs.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < d_outputs.rows() && r < expert_rows(); ++r) {
            const float factor = gradient_factor_of(here_[r].expert);
            const std::uint64_t offsets = key_of(expert_gradient_offsets, here_[r].expert, 0);
            const auto in = d_outputs.row<Element>(r);
            const auto out = d_rows.row<Element>(r);
            for (std::size_t c = 0; c < in.size(); ++c)
                out[c] = rounded<Element>(factor * float(in[c]) + number_at<5>(offsets, c));
        }
    });
}

// What a choice brings to the source's sum, unrounded but for the type of the row that travels.
void DispatchOracle::add_term(Sum sum, int token, const Choice& choice, std::span<float> to) const {
    const bool backward = sum == Sum::d_rows;
    const std::uint64_t values = key_of(backward ? gradient_rows : token_rows, member_, token);
    const std::uint64_t offsets = key_of(backward ? expert_gradient_offsets : expert_offsets, choice.expert, 0);
    const float factor = backward ? gradient_factor_of(choice.expert) : factor_of(choice.expert);
    with_element(shape_.dtype, [&]<class Element>(Element) {
        if (backward)
            for (std::size_t c = 0; c < to.size(); ++c)
                to[c] += rounded_once<Element>(factor * rounded_once<Element>(choice.weight * token_value(values, c)) +
                                               number_at<5>(offsets, c));
        else
            for (std::size_t c = 0; c < to.size(); ++c)
                to[c] += choice.weight * (factor * token_value(values, c) + number_at<6>(offsets, c));
    });
}

// All sums are exact, so that only what is rounded on the way needs an order.
void DispatchOracle::sum_choices(Sum sum, int token, std::span<float> to) const {
    const auto choices = std::span(choices_).subspan(std::size_t(token) * top_k_, top_k_);
    std::ranges::fill(to, 0.f);
    if (order_ == CombineOrder::exact) {
        for (const auto& choice : choices)
            if (choice.host >= 0) add_term(sum, token, choice, to);
        return;
    }
    if (order_ == CombineOrder::reduced) return add_partials(sum, token, -1, to);
    std::vector<float> of_node(to.size());
    for (int node = 0; node < std::max(topology_.nodes(), 1); ++node) {
        std::ranges::fill(of_node, 0.f);
        add_partials(sum, token, node, of_node);
        with_element(shape_.dtype, [&]<class Element>(Element) {
            for (std::size_t c = 0; c < to.size(); ++c) to[c] += rounded_once<Element>(of_node[c]);
        });
    }
}

int DispatchOracle::node_of(int member) const {
    return topology_.node_of.empty() ? 0 : topology_.node_of[std::size_t(member)];
}

// Those of the hosts on a node, or of all: -1.
void DispatchOracle::add_partials(Sum sum, int token, int node, std::span<float> to) const {
    const auto choices = std::span(choices_).subspan(std::size_t(token) * top_k_, top_k_);
    std::vector<float> partial(to.size());
    for (std::size_t j = 0; j < choices.size(); ++j) {
        const auto same_host = [&](const Choice& other) { return other.host == choices[j].host; };
        if (choices[j].host < 0 || std::any_of(choices.begin(), choices.begin() + std::ptrdiff_t(j), same_host))
            continue;
        if (node >= 0 && node_of(choices[j].host) != node) continue;
        std::ranges::fill(partial, 0.f);
        for (const auto& choice : choices)
            if (same_host(choice)) add_term(sum, token, choice, partial);
        with_element(shape_.dtype, [&]<class Element>(Element) {
            for (std::size_t c = 0; c < to.size(); ++c) to[c] += rounded_once<Element>(partial[c]);
        });
    }
}

float DispatchOracle::d_weight(int expert, int source, int token) const {
    const std::uint64_t values = key_of(token_rows, source, token);
    const std::uint64_t gradients = key_of(gradient_rows, source, token);
    const std::uint64_t offsets = key_of(expert_offsets, expert, 0);
    const float factor = factor_of(expert);
    float sum = 0;
    for (std::size_t c = 0; c < std::size_t(shape_.hidden); ++c)
        sum += (factor * token_value(values, c) + number_at<6>(offsets, c)) * token_value(gradients, c);
    return sum;
}

// `wanted` has the shape and type, but no data; expected(row, values) says what is in a row.
template <class Expected>
int DispatchOracle::wrong_rows(ConstRows found, ConstRows wanted, Expected&& expected) const {
    if (found.rows() != wanted.rows()) return std::max(found.rows(), wanted.rows());
    if (found.cols() != wanted.cols() || found.dtype() != wanted.dtype()) return found.rows();
    int wrong = 0;
    std::vector<float> values(std::size_t(wanted.cols()));
    with_element(wanted.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < wanted.rows(); ++r) {
            expected(r, std::span(values));
            const auto is_right = [](Element element, float value) { return element == rounded<Element>(value); };
            wrong += !std::ranges::equal(found.row<Element>(r), values, is_right);
        }
    });
    return wrong;
}

int DispatchOracle::wrong_expert_rows(ConstRows rows) const {
    return wrong_rows(rows, {nullptr, expert_rows(), shape_.hidden, shape_.dtype}, [&](int r, std::span<float> values) {
        const std::uint64_t key = key_of(token_rows, here_[r].source, here_[r].token);
        for (std::size_t c = 0; c < values.size(); ++c) values[c] = token_value(key, c);
    });
}

int DispatchOracle::wrong_combined(ConstRows y) const {
    return wrong_rows(y, {nullptr, tokens_, shape_.hidden, shape_.dtype},
                      [&](int t, std::span<float> values) { sum_choices(Sum::weighted_outputs, t, values); });
}

int DispatchOracle::wrong_d_outputs(ConstRows d_outputs) const {
    const ConstRows wanted(nullptr, expert_rows(), shape_.hidden, shape_.dtype);
    return wrong_rows(d_outputs, wanted, [&](int r, std::span<float> values) {
        const std::uint64_t key = key_of(gradient_rows, here_[r].source, here_[r].token);
        for (std::size_t c = 0; c < values.size(); ++c) values[c] = here_[r].weight * token_value(key, c);
    });
}

int DispatchOracle::wrong_d_x(ConstRows d_x) const {
    return wrong_rows(d_x, {nullptr, tokens_, shape_.hidden, shape_.dtype},
                      [&](int t, std::span<float> values) { sum_choices(Sum::d_rows, t, values); });
}

int DispatchOracle::wrong_d_weights_here(ConstRows d_weights) const {
    return wrong_rows(d_weights, {nullptr, expert_rows(), 1, wide(shape_.dtype)}, [&](int r, std::span<float> values) {
        values[0] = d_weight(here_[r].expert, here_[r].source, here_[r].token);
    });
}

int DispatchOracle::wrong_d_weights(ConstRows d_weights) const {
    return wrong_rows(d_weights, {nullptr, tokens_, top_k_, wide(shape_.dtype)}, [&](int t, std::span<float> values) {
        for (int j = 0; j < top_k_; ++j) {
            const Choice& choice = choices_[std::size_t(t) * top_k_ + j];
            values[j] = choice.host < 0 ? 0 : d_weight(choice.expert, member_, t);
        }
    });
}

}  // namespace expar
