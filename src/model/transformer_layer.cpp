#include "transformer_layer.hpp"

#include <array>
#include <ranges>

#include "expar/base/device.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/rows.hpp"

namespace expar {
namespace {

std::vector<ParameterBlock*> all_but_first(std::vector<ParameterBlock*> blocks) {
    blocks.erase(blocks.begin());
    return blocks;
}

}  // namespace

Transformer::Layer::Layer(const ModelOptions& options, int layer, CombineOrder order, const MoeRuntime& runtime,
                          const Parameters& parameters)
    : device(*runtime.device),
      clock(runtime.clock),
      index(layer),
      norm_epsilon(options.norm_epsilon),
      attention_block(*parameters.of_layer(layer).front()),
      norm_tensor(int(attention_block.spec().tensors.size()) - 1),
      attention(device, options, layer, attention_block),
      feed_forward_blocks(all_but_first(parameters.of_layer(layer))) {
    if (options.is_moe(layer))
        moe.emplace(moe_options(options, order), layer, runtime, feed_forward_blocks);
    else
        dense.emplace(device, activation_named(options.activation), feed_forward_blocks);
}

Matrix Transformer::Layer::forward(const MicroBatch& batch, const TokenScope& scope, bool training,
                                   LayerState& state) const {
    {
        const Span span(clock, Phase::attention, index);
        state.after_attention = Matrix(device, state.x.dtype(), state.x.rows(), state.x.cols());
        state.attention = attention.forward(batch, state.x, state.after_attention);
    }
    return feed_forward(state, scope, training);
}

Matrix Transformer::Layer::feed_forward(LayerState& state, const TokenScope& scope, bool training) const {
    Span span(clock, Phase::norm, index);
    const Matrix& x = state.after_attention;
    state.normed = Matrix(device, x.dtype(), x.rows(), x.cols());
    state.inverse_rms = Matrix(device, wide(x.dtype()), x.rows(), 1);
    device.norm().forward(x, attention_block.value(norm_tensor), norm_epsilon, state.normed, state.inverse_rms,
                          device.stream());
    span.end();
    Matrix y;
    if (moe) {
        auto forward = moe->forward(state.normed, scope, training);
        y = std::move(forward.y);
        state.moe = std::move(forward.state);
    } else {
        const Span inner(clock, Phase::dense, index);
        y = Matrix(device, x.dtype(), x.rows(), x.cols());
        state.dense = dense->forward(state.normed, std::array{0, x.rows()}, y);
    }
    const Span residual(clock, Phase::norm, index);
    device.rows().add(x, y, device.stream());
    return y;
}

void Transformer::Layer::feed_forward_backward(LayerState& state, Rows d, const RouterGradient& gradient,
                                               const BlockReady& ready) const {
    Matrix d_normed;
    const auto ready_from = [&](auto chosen) {
        for (ParameterBlock* block : std::views::reverse(feed_forward_blocks))
            if (chosen(block->spec().role == Role::expert)) ready(*block);
    };
    if (moe) {
        d_normed = moe->backward(state.normed, *state.moe, d, gradient,
                                 [&] { ready_from([](bool expert) { return expert; }); });
    } else {
        const Span inner(clock, Phase::dense_backward, index);
        d_normed = Matrix(device, d.dtype(), d.rows(), d.cols());
        dense->backward(state.normed, std::array{0, d.rows()}, *state.dense, d, d_normed);
    }
    ready_from([this](bool expert) { return !moe || !expert; });
    const Span span(clock, Phase::norm_backward, index);
    device.norm().backward({state.after_attention, attention_block.value(norm_tensor), state.inverse_rms}, d_normed, d,
                           Write::add, attention_block.gradient(norm_tensor), device.stream());
}

}  // namespace expar
