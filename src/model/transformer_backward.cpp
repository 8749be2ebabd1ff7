#include <utility>

#include "expar/base/device.hpp"
#include "expar/compute/loss.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/rows.hpp"
#include "transformer_layer.hpp"

namespace expar {

// d_logits → the gradient of the last layer's output
Matrix Transformer::score_vocabulary_backward(const TransformerState& state, ConstRows d_logits) const {
    Stream& stream = device_.stream();
    Matrix d_normed(device_, dtype_, d_logits.rows(), options_.hidden);
    device_.product().input_gradient(d_logits, head_->weight(0, 1, dtype_), d_normed, stream);
    device_.product().weight_gradient(d_logits, state.normed, head_->gradient(0), stream);
    Matrix d_x(device_, dtype_, d_logits.rows(), options_.hidden);
    device_.norm().backward({state.x, norm_->value(0), state.inverse_rms}, d_normed, d_x, Write::assign,
                            norm_->gradient(0), stream);
    return d_x;
}

Matrix Transformer::backward(const MicroBatch& batch, TransformerState& state, const ObjectiveScales& scales,
                             const BlockReady& ready) const {
    std::size_t routers = scales.routers.size();
    if (const std::size_t expected = state.statistics().size(); routers != expected)
        throw Error(concat("transformer: ", routers, " gradients of routers, expected ", expected));

    Span span(clock_, Phase::head_backward);
    Matrix narrow;  // of bfloat16: half of what the two products read
    if (dtype_ != state.logits.dtype()) narrow = Matrix(device_, dtype_, batch.token_count(), options_.vocabulary);
    Matrix& d_logits = dtype_ != state.logits.dtype() ? narrow : state.logits;
    device_.loss().backward(state.logits, batch.targets, state.log_sum_exp, scales.loss, d_logits, device_.stream());
    Matrix d = score_vocabulary_backward(state, d_logits);
    for (Matrix* done : {&narrow, &state.logits, &state.normed, &state.x}) *done = Matrix();
    span.end();
    if (head_ != embedding_) ready(*head_);
    ready(*norm_);
    for (std::size_t l = layers_.size(); l-- > 0;) {
        const Layer& layer = *layers_[l];
        LayerState layer_state = std::move(state.layers[l]);  // its memory serves the layers before
        if (state.keep == Keep::inputs)
            static_cast<void>(layer.forward(batch, state.scope, state.training, layer_state));
        layer.feed_forward_backward(layer_state, d, layer.moe ? scales.routers[--routers] : RouterGradient{}, ready);
        layer_state.moe.reset();
        layer_state.dense.reset();
        const Span attention(clock_, Phase::attention_backward, layer.index);
        Matrix d_x(device_, dtype_, d.rows(), d.cols());
        layer.attention.backward(batch, layer_state.x, layer_state.attention, d, d_x);
        ready(layer.attention_block);
        d = std::move(d_x);
    }
    const Span embedding(clock_, Phase::embed_backward);
    device_.rows().scatter_add(d, batch.tokens, embedding_->gradient(0), device_.stream());
    ready(*embedding_);
    return d;
}

}  // namespace expar
