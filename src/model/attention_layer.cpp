#include "expar/model/attention_layer.hpp"

#include <array>
#include <numeric>

#include "expar/base/device.hpp"
#include "expar/base/names.hpp"
#include "expar/compute/matrix_product.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/rows.hpp"

namespace expar {
namespace {

constexpr std::array<Named<QkNorm>, 3> qk_norms = {{
    {"none", QkNorm::none},
    {"projection", QkNorm::projection},
    {"head", QkNorm::head},
}};

// Places in the block. Query, key and value lie together and are one product.
enum Tensor { attention_norm, query, key, value, output, query_norm, key_norm };
constexpr int projections = 3;

// Copies rows that may be columns of a wider matrix.
void copy_rows(Device& device, ConstRows from, Rows to) {
    std::vector<int> index(std::size_t(from.rows()));
    std::iota(index.begin(), index.end(), 0);
    device.rows().gather(from, index, to, device.stream());
}

}  // namespace

QkNorm qk_norm_named(std::string_view name) {
    return entry_named(qk_norms, "norm of queries and keys", name).value;
}

std::vector<TensorSpec> attention_tensors(const ModelOptions& options, int layer) {
    const int queries = options.heads * options.head_size;
    const int keys = options.kv_heads * options.head_size;
    const std::string prefix = concat("layers.", layer, ".");
    std::vector<TensorSpec> tensors;
    const auto matrix = [&](const char* name, int rows, int cols) {
        tensors.push_back({concat(prefix, name), rows, cols, TensorSpec::Initial::normal, options.initial_std});
    };
    const auto norm = [&](const char* name, int cols) {
        tensors.push_back({concat(prefix, name), 1, cols, TensorSpec::Initial::ones});
    };
    norm("attention_norm.weight", options.hidden);
    matrix("attention.query.weight", queries, options.hidden);
    matrix("attention.key.weight", keys, options.hidden);
    matrix("attention.value.weight", keys, options.hidden);
    matrix("attention.output.weight", options.hidden, queries);
    if (const QkNorm kind = qk_norm_named(options.qk_norm); kind != QkNorm::none) {
        norm("attention.query_norm.weight", kind == QkNorm::head ? options.head_size : queries);
        norm("attention.key_norm.weight", kind == QkNorm::head ? options.head_size : keys);
    }
    norm("feed_forward_norm.weight", options.hidden);
    return tensors;
}

AttentionLayer::AttentionLayer(Device& device, const ModelOptions& options, int layer, ParameterBlock& block)
    : device_(device),
      options_(options),
      layer_(layer),
      shape_{options.heads, options.kv_heads, options.head_size},
      qk_norm_(qk_norm_named(options.qk_norm)),
      block_(block) {}

void AttentionLayer::turn(std::span<const int> positions, Rows x, int direction) const {
    device_.attention().rotate(x, positions, shape_.head_size, options_.rope_theta, direction, device_.stream());
}

void AttentionLayer::project(std::span<const int> positions, ConstRows x, AttentionState& state) const {
    const int rows = x.rows();
    const int queries = query_columns();
    const int keys = key_columns();
    const auto& norm = device_.norm();
    Stream& stream = device_.stream();

    state.normed = Matrix(device_, x.dtype(), rows, x.cols());
    state.inverse_rms = Matrix(device_, wide(x.dtype()), rows, 1);
    norm.forward(x, block_.value(attention_norm), options_.norm_epsilon, state.normed, state.inverse_rms, stream);
    state.projected = Matrix(device_, x.dtype(), rows, queries + 2 * keys);
    device_.product().forward(state.normed, block_.weight(query, projections, x.dtype()), state.projected, stream);

    const Rows raw = state.projected.view().columns(0, queries + keys);
    if (qk_norm_ == QkNorm::none) return turn(positions, raw, +1);
    const bool by_head = qk_norm_ == QkNorm::head;
    state.turned = Matrix(device_, x.dtype(), rows, queries + keys);
    state.q_inverse_rms = Matrix(device_, wide(x.dtype()), rows, by_head ? shape_.heads : 1);
    state.k_inverse_rms = Matrix(device_, wide(x.dtype()), rows, by_head ? shape_.kv_heads : 1);
    norm.forward(raw.columns(0, queries), block_.value(query_norm), options_.norm_epsilon,
                 state.turned.view().columns(0, queries), state.q_inverse_rms, stream);
    norm.forward(raw.columns(queries, keys), block_.value(key_norm), options_.norm_epsilon,
                 state.turned.view().columns(queries, keys), state.k_inverse_rms, stream);
    turn(positions, state.turned, +1);
}

AttentionOperations::Saved AttentionLayer::saved(const AttentionState& state) const {
    const int queries = query_columns();
    const int keys = key_columns();
    const ConstRows projected = state.projected;
    const ConstRows turned = qk_norm_ == QkNorm::none ? projected : ConstRows(state.turned);
    return {{turned.columns(0, queries), turned.columns(queries, keys), projected.columns(queries + keys, keys)},
            state.out,
            state.log_sum_exp};
}

void AttentionLayer::add_output(ConstRows x, ConstRows out, Rows y) const {
    device_.product().forward(out, block_.weight(output, 1, out.dtype()), y, device_.stream());
    device_.rows().add(x, y, device_.stream());
}

AttentionState AttentionLayer::forward(const MicroBatch& batch, ConstRows x, Rows y) const {
    AttentionState state;
    project(batch.positions, x, state);
    state.out = Matrix(device_, x.dtype(), x.rows(), query_columns());
    state.log_sum_exp = Matrix(device_, wide(x.dtype()), x.rows(), shape_.heads);
    device_.attention().forward(shape_, {batch.offsets, batch.offsets}, saved(state).in, state.out, state.log_sum_exp,
                                device_.stream());
    add_output(x, state.out, y);
    return state;
}

void AttentionLayer::extend(std::span<const int> positions, ConstRows x, KvCache& cache, Rows y) const {
    const int rows = x.rows();
    if (rows == 0) return;
    AttentionState state;
    project(positions, x, state);
    state.out = Matrix(device_, x.dtype(), rows, query_columns());
    state.log_sum_exp = Matrix(device_, wide(x.dtype()), rows, shape_.heads);
    const auto [q, k, v] = saved(state).in;
    copy_rows(device_, k, cache.keys(layer_).slice(cache.length(), rows));
    copy_rows(device_, v, cache.values(layer_).slice(cache.length(), rows));

    const int known = cache.length() + rows;
    const std::array query_offsets{0, rows};
    const std::array key_offsets{0, known};
    device_.attention().forward(shape_, {query_offsets, key_offsets},
                                {q, cache.keys(layer_).slice(0, known), cache.values(layer_).slice(0, known)},
                                state.out, state.log_sum_exp, device_.stream());
    add_output(x, state.out, y);
}

// d_out → the gradient of the three projections, side by side
Matrix AttentionLayer::project_backward(const MicroBatch& batch, const AttentionState& state, ConstRows d_out) const {
    const int queries = query_columns();
    const int keys = key_columns();
    Stream& stream = device_.stream();
    Matrix d_projected(device_, d_out.dtype(), d_out.rows(), queries + 2 * keys);
    const Rows d_raw = d_projected.view().columns(0, queries + keys);
    Matrix d_normed;  // of queries and keys; without their norm it is the gradient of the projections themselves
    if (qk_norm_ != QkNorm::none) d_normed = Matrix(device_, d_out.dtype(), d_out.rows(), queries + keys);
    const Rows d_turned = qk_norm_ == QkNorm::none ? d_raw : Rows(d_normed);
    const Rows d_q = d_turned.columns(0, queries);
    const Rows d_k = d_turned.columns(queries, keys);

    device_.attention().backward(shape_, batch.offsets, saved(state), d_out,
                                 {d_q, d_k, d_projected.view().columns(queries + keys, keys)}, stream);
    turn(batch.positions, d_turned, -1);
    if (qk_norm_ == QkNorm::none) return d_projected;

    const ConstRows raw = state.projected;
    device_.norm().backward({raw.columns(0, queries), block_.value(query_norm), state.q_inverse_rms}, d_q,
                            d_raw.columns(0, queries), Write::assign, block_.gradient(query_norm), stream);
    device_.norm().backward({raw.columns(queries, keys), block_.value(key_norm), state.k_inverse_rms}, d_k,
                            d_raw.columns(queries, keys), Write::assign, block_.gradient(key_norm), stream);
    return d_projected;
}

void AttentionLayer::backward(const MicroBatch& batch, ConstRows x, const AttentionState& state, ConstRows d_y,
                              Rows d_x) const {
    const auto& product = device_.product();
    Stream& stream = device_.stream();
    Matrix d_out(device_, x.dtype(), x.rows(), query_columns());
    product.input_gradient(d_y, block_.weight(output, 1, d_y.dtype()), d_out, stream);
    product.weight_gradient(d_y, state.out, block_.gradient(output), stream);

    const Matrix d_projected = project_backward(batch, state, d_out);
    Matrix d_normed(device_, x.dtype(), x.rows(), x.cols());
    product.input_gradient(d_projected, block_.weight(query, projections, d_y.dtype()), d_normed, stream);
    product.weight_gradient(d_projected, state.normed, block_.gradient(query, projections), stream);

    copy_rows(device_, d_y, d_x);
    device_.norm().backward({x, block_.value(attention_norm), state.inverse_rms}, d_normed, d_x, Write::add,
                            block_.gradient(attention_norm), stream);
}

}  // namespace expar
