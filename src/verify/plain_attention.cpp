#include "expar/verify/plain_attention.hpp"

#include <cmath>

#include "expar/base/error.hpp"

namespace expar {
namespace {

// What one query sees: the keys of rows first_row ... row of its sequence, through the key head of its group.
struct Query {
    int row, head, key_head, first_row;
};

std::vector<Query> queries(const ModelOptions& options, std::span<const int> offsets) {
    std::vector<Query> all;
    for (std::size_t sequence = 0; sequence + 1 < offsets.size(); ++sequence)
        for (int row = offsets[sequence]; row < offsets[sequence + 1]; ++row)
            for (int head = 0; head < options.heads; ++head)
                all.push_back({row, head, head / (options.heads / options.kv_heads), offsets[sequence]});
    return all;
}

// One head of one row of a [T, heads * size] array.
template <class Rows>
auto head_of(const ModelOptions& options, Rows& rows, int heads, int row, int head) {
    const std::size_t size = std::size_t(options.head_size);
    return std::span(rows).subspan((std::size_t(row) * heads + head) * size, size);
}

// How much `query` takes of each row that it sees.
std::vector<double> shares(const ModelOptions& options, const Query& query, const std::vector<double>& queries,
                           const std::vector<double>& keys) {
    std::vector<double> scores;
    for (int row = query.first_row; row <= query.row; ++row)
        scores.push_back(plain_dot(head_of(options, queries, options.heads, query.row, query.head),
                                   head_of(options, keys, options.kv_heads, row, query.key_head)) /
                         std::sqrt(options.head_size));
    return plain_softmax(scores);
}

// What attention mixes, or the gradients of it: queries [T, heads * size], keys and values [T, kv_heads * size].
struct Meeting {
    std::vector<double> queries, keys, values;
};

std::vector<double> mix(const ModelOptions& options, std::span<const int> offsets, const Meeting& in) {
    std::vector<double> mixed(in.queries.size());
    for (const Query& query : queries(options, offsets)) {
        const auto share = shares(options, query, in.queries, in.keys);
        const auto out = head_of(options, mixed, options.heads, query.row, query.head);
        for (int row = query.first_row; row <= query.row; ++row) {
            const auto value = head_of(options, in.values, options.kv_heads, row, query.key_head);
            for (std::size_t i = 0; i < out.size(); ++i) out[i] += share[row - query.first_row] * value[i];
        }
    }
    return mixed;
}

Meeting mix_backward(const ModelOptions& options, std::span<const int> offsets, const Meeting& in,
                     std::span<const double> d_mixed) {
    Meeting d{std::vector<double>(in.queries.size()), std::vector<double>(in.keys.size()),
              std::vector<double>(in.values.size())};
    for (const Query& query : queries(options, offsets)) {
        const auto share = shares(options, query, in.queries, in.keys);
        const auto d_out = head_of(options, d_mixed, options.heads, query.row, query.head);
        std::vector<double> d_share;
        for (int row = query.first_row; row <= query.row; ++row) {
            d_share.push_back(plain_dot(d_out, head_of(options, in.values, options.kv_heads, row, query.key_head)));
            const auto d_value = head_of(options, d.values, options.kv_heads, row, query.key_head);
            for (std::size_t i = 0; i < d_out.size(); ++i) d_value[i] += share[row - query.first_row] * d_out[i];
        }
        const auto d_score = plain_softmax_backward(share, d_share);
        const auto asked = head_of(options, in.queries, options.heads, query.row, query.head);
        const auto d_asked = head_of(options, d.queries, options.heads, query.row, query.head);
        for (int row = query.first_row; row <= query.row; ++row) {
            const double d_product = d_score[row - query.first_row] / std::sqrt(options.head_size);
            const auto key = head_of(options, in.keys, options.kv_heads, row, query.key_head);
            const auto d_key = head_of(options, d.keys, options.kv_heads, row, query.key_head);
            for (std::size_t i = 0; i < key.size(); ++i) {
                d_asked[i] += d_product * key[i];
                d_key[i] += d_product * asked[i];
            }
        }
    }
    return d;
}

// Turns the pair (i, i + size/2) of every head by position * theta^(-2i/size); direction -1 turns back.
std::vector<double> rotate(const ModelOptions& options, std::span<const int> offsets, std::vector<double> rows,
                           int direction) {
    const std::size_t half = std::size_t(options.head_size) / 2;
    const int heads = offsets.back() == 0 ? 0 : int(rows.size()) / offsets.back() / options.head_size;
    for (std::size_t sequence = 0; sequence + 1 < offsets.size(); ++sequence)
        for (int row = offsets[sequence]; row < offsets[sequence + 1]; ++row)
            for (int head = 0; head < heads; ++head) {
                const auto x = head_of(options, rows, heads, row, head);
                for (std::size_t i = 0; i < half; ++i) {
                    const double frequency = std::pow(options.rope_theta, -2.0 * double(i) / options.head_size);
                    const double angle = direction * (row - offsets[sequence]) * frequency;
                    const double first = x[i], second = x[i + half];
                    x[i] = first * std::cos(angle) - second * std::sin(angle);
                    x[i + half] = second * std::cos(angle) + first * std::sin(angle);
                }
            }
    return rows;
}

}  // namespace

PlainAttention::PlainAttention(const ModelOptions& options, const PlainWeights& weights, int layer)
    : options_(options), weights_(weights), prefix_(concat("layers.", layer, ".attention.")) {}

std::vector<double> PlainAttention::forward(std::span<const double> x, std::span<const int> offsets) const {
    const auto mixed =
        mix(options_, offsets, {turned(x, offsets, "query"), turned(x, offsets, "key"), projected(x, "value")});
    return projected(mixed, "output");
}

std::vector<double> PlainAttention::backward(std::span<const double> x, std::span<const int> offsets,
                                             std::span<const double> d_y, PlainWeights& gradients) const {
    const Meeting meeting{turned(x, offsets, "query"), turned(x, offsets, "key"), projected(x, "value")};
    const auto mixed = mix(options_, offsets, meeting);
    const auto d_mixed = projected_backward(mixed, "output", d_y, gradients);
    const Meeting d = mix_backward(options_, offsets, meeting, d_mixed);
    auto d_x = turned_backward(x, offsets, "query", d.queries, gradients);
    plain_add(d_x, turned_backward(x, offsets, "key", d.keys, gradients));
    plain_add(d_x, projected_backward(x, "value", d.values, gradients));
    return d_x;
}

int PlainAttention::inputs_of(const std::string& name) const {
    return name == "output" ? options_.heads * options_.head_size : options_.hidden;
}

std::vector<double> PlainAttention::projected(std::span<const double> x, const std::string& name) const {
    return plain_linear(x, weights_.at(prefix_ + name + ".weight"), inputs_of(name));
}

std::vector<double> PlainAttention::projected_backward(std::span<const double> x, const std::string& name,
                                                       std::span<const double> d_y, PlainWeights& gradients) const {
    const std::string weight = prefix_ + name + ".weight";
    return plain_linear_backward(x, weights_.at(weight), inputs_of(name), d_y, gradients.at(weight));
}

// The length of the norm's weight says what it spans: all heads of a row, or one.
std::vector<double> PlainAttention::turned(std::span<const double> x, std::span<const int> offsets,
                                           const std::string& name) const {
    auto rows = projected(x, name);
    if (options_.qk_norm != "none")
        rows = plain_rms_norm(rows, weights_.at(prefix_ + name + "_norm.weight"), options_.norm_epsilon);
    return rotate(options_, offsets, rows, +1);
}

std::vector<double> PlainAttention::turned_backward(std::span<const double> x, std::span<const int> offsets,
                                                    const std::string& name, std::span<const double> d_turned,
                                                    PlainWeights& gradients) const {
    auto d_rows = rotate(options_, offsets, std::vector(d_turned.begin(), d_turned.end()), -1);
    if (options_.qk_norm != "none") {
        const std::string weight = prefix_ + name + "_norm.weight";
        d_rows = plain_rms_norm_backward(projected(x, name), weights_.at(weight), options_.norm_epsilon, d_rows,
                                         gradients.at(weight));
    }
    return projected_backward(x, name, d_rows, gradients);
}

}  // namespace expar
