#include "expar/model/transformer.hpp"

#include <numeric>

#include "expar/base/device.hpp"
#include "expar/compute/loss.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/routing.hpp"
#include "expar/compute/rows.hpp"
#include "transformer_layer.hpp"

namespace expar {

std::vector<RouterStatistics> TransformerState::statistics() const {
    std::vector<RouterStatistics> found;
    for (const auto& layer : layers)
        if (layer.moe) found.push_back(layer.moe->statistics);
    return found;
}

void LayerState::keep_input() {
    LayerState kept;
    kept.x = std::move(x);
    if (moe) {
        kept.moe.emplace();
        kept.moe->routing = std::move(moe->routing);
        kept.moe->rows_served = moe->rows_served;
        kept.moe->statistics = std::move(moe->statistics);
    }
    *this = std::move(kept);
}

Transformer::Transformer(const ModelOptions& options, CombineOrder order, const MoeRuntime& runtime,
                         Parameters& parameters, DType dtype)
    : options_(options), device_(*runtime.device), clock_(runtime.clock), dtype_(dtype) {
    if (wide(dtype) != parameters.dtype())
        throw Error(concat("transformer: parameters are ", name_of(parameters.dtype()), ", expected ",
                           name_of(wide(dtype)), " for rows of ", name_of(dtype)));
    for (int layer = 0; layer < options.layers; ++layer)
        layers_.push_back(std::make_unique<Layer>(options, layer, order, runtime, parameters));
    const auto outside = parameters.of_layer(-1);
    embedding_ = outside.at(0);
    norm_ = outside.at(1);
    head_ = options.tied_head ? embedding_ : outside.at(2);
}

Transformer::~Transformer() = default;

void Transformer::check_tokens(std::span<const int> tokens) const {
    for (const int token : tokens)
        if (token < 0 || token >= options_.vocabulary)
            throw Error(concat("transformer: token ", token, ", expected 0 to ", options_.vocabulary - 1));
}

Matrix Transformer::embed(std::span<const int> tokens) const {
    const Span span(clock_, Phase::embed);
    Matrix x(device_, dtype_, int(tokens.size()), options_.hidden);
    device_.rows().gather(embedding_->value(0), tokens, x, device_.stream());
    return x;
}

// state.x → logits
void Transformer::score_vocabulary(TransformerState& state) const {
    const int rows = state.x.rows();
    state.normed = Matrix(device_, dtype_, rows, options_.hidden);
    state.inverse_rms = Matrix(device_, wide(dtype_), rows, 1);
    device_.norm().forward(state.x, norm_->value(0), options_.norm_epsilon, state.normed, state.inverse_rms,
                           device_.stream());
    state.logits = Matrix(device_, wide(dtype_), rows, options_.vocabulary);
    device_.product().forward(state.normed, head_->weight(0, 1, dtype_), state.logits, device_.stream());
}

TransformerState Transformer::forward(const MicroBatch& batch, const TokenScope& scope, bool training,
                                      Keep keep) const {
    check_tokens(batch.tokens);
    for (const int target : batch.targets)
        if (target != -1) check_tokens({&target, 1});

    TransformerState state;
    state.keep = keep;
    state.scope = scope;
    state.training = training;
    Matrix x = embed(batch.tokens);
    for (const auto& layer : layers_) {
        LayerState& layer_state = state.layers.emplace_back();
        layer_state.x = std::move(x);
        x = layer->forward(batch, scope, training, layer_state);
        if (keep == Keep::inputs) layer_state.keep_input();
    }
    state.x = std::move(x);
    const Span span(clock_, Phase::head);
    score_vocabulary(state);

    Matrix losses(device_, wide(dtype_), batch.token_count(), 1);
    state.log_sum_exp = Matrix(device_, wide(dtype_), batch.token_count(), 1);
    device_.loss().forward(state.logits, batch.targets, losses, state.log_sum_exp, device_.stream());
    // The column's sum in float64 is what the router needs of its probabilities, too.
    device_.routing().sum_over_tokens(losses, {&state.loss_sum, 1}, device_.stream());
    return state;
}

Matrix Transformer::extend(std::span<const int> tokens, KvCache& cache) const {
    const int rows = int(tokens.size());
    check_tokens(tokens);
    cache.check_room(rows);
    std::vector<int> positions(tokens.size());
    std::iota(positions.begin(), positions.end(), cache.length());

    Matrix x = embed(tokens);
    for (const auto& layer : layers_) {
        LayerState state;
        state.after_attention = Matrix(device_, dtype_, rows, options_.hidden);
        layer->attention.extend(positions, x, cache, state.after_attention);
        x = layer->feed_forward(state, {}, false);
    }
    cache.grow(rows);
    TransformerState state;
    state.x = std::move(x);
    score_vocabulary(state);
    return std::move(state.logits);
}

}  // namespace expar
