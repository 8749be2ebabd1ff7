#include "expar/verify/plain_model.hpp"

#include <algorithm>

#include "expar/base/error.hpp"
#include "expar/verify/plain_attention.hpp"
#include "expar/verify/plain_balance.hpp"
#include "expar/verify/plain_mlp.hpp"
#include "expar/verify/plain_moe.hpp"
#include "expar/verify/plain_optimizer.hpp"
#include "expar/verify/plain_parameters.hpp"

namespace expar {
namespace {

// Sums over all micro-batches, known before the first backward.
struct Totals {
    int tokens = 0;
    int loss_tokens = 0;
};

// What a forward pass leaves to its backward pass: the residual stream before each half of a layer and at the end.
struct Layer {
    std::vector<double> before_attention, before_feed_forward;
    PlainRouting routing;  // of a MoE layer
};
struct Pass {
    std::vector<Layer> layers;
    std::vector<double> last;
    std::vector<double> logits;
};

class Model {
public:
    Model(const ModelOptions& options, const PlainWeights& weights) : options_(options), weights_(weights) {}

    Pass forward(const PlainBatch& batch) const {
        Pass pass;
        std::vector<double> stream = embed(batch);
        std::size_t moe_layer = 0;
        for (int l = 0; l < options_.layers; ++l) {
            Layer layer;
            layer.before_attention = stream;
            plain_add(stream, attention(l).forward(norm(stream, name(l, "attention_norm")), batch.offsets));
            layer.before_feed_forward = stream;
            const auto x = norm(stream, name(l, "feed_forward_norm"));
            if (options_.is_moe(l)) {
                layer.routing = route(l, moe_layer++, x, batch);
                plain_add(stream, moe(l).forward(x, layer.routing));
            } else {
                plain_add(stream, dense(l).forward(x));
            }
            pass.layers.push_back(layer);
        }
        pass.last = stream;
        pass.logits = plain_linear(norm(stream, "norm"), weights_.at(head()), options_.hidden);
        return pass;
    }

    // Adds the gradients of the batch's share of the objective; returns that of the embedding's output rows.
    std::vector<double> backward(const PlainBatch& batch, const Pass& pass, const Totals& totals,
                                 PlainWeights& gradients) const {
        const auto d_logits = loss_backward(batch, pass.logits, totals);
        const auto d_normed = plain_linear_backward(norm(pass.last, "norm"), weights_.at(head()), options_.hidden,
                                                    d_logits, gradients.at(head()));
        auto d_stream = norm_backward(pass.last, "norm", d_normed, gradients);
        for (int l = options_.layers - 1; l >= 0; --l) {
            const Layer& layer = pass.layers[l];
            const auto x = norm(layer.before_feed_forward, name(l, "feed_forward_norm"));
            std::vector<double> d_x;
            if (options_.is_moe(l)) {
                const auto d_router = plain_losses_backward(options_, layer.routing, batch.rank_offsets, totals.tokens);
                d_x = moe(l).backward(x, layer.routing, d_stream, d_router, gradients);
            } else {
                d_x = dense(l).backward(x, d_stream, gradients);
            }
            plain_add(d_stream, norm_backward(layer.before_feed_forward, name(l, "feed_forward_norm"), d_x, gradients));

            const auto y = norm(layer.before_attention, name(l, "attention_norm"));
            const auto d_y = attention(l).backward(y, batch.offsets, d_stream, gradients);
            plain_add(d_stream, norm_backward(layer.before_attention, name(l, "attention_norm"), d_y, gradients));
        }
        embed_backward(batch, d_stream, gradients);
        return d_stream;
    }

private:
    static std::string name(int layer, const std::string& part) { return concat("layers.", layer, ".", part); }
    std::string head() const { return options_.tied_head ? "embedding.weight" : "head.weight"; }
    PlainAttention attention(int layer) const { return {options_, weights_, layer}; }
    PlainMoe moe(int layer) const { return {options_, weights_, name(layer, "")}; }
    PlainMlp dense(int layer) const { return {options_, weights_, name(layer, "dense.")}; }

    std::vector<double> norm(std::span<const double> rows, const std::string& norm) const {
        return plain_rms_norm(rows, weights_.at(norm + ".weight"), options_.norm_epsilon);
    }
    std::vector<double> norm_backward(std::span<const double> rows, const std::string& norm,
                                      std::span<const double> d_normed, PlainWeights& gradients) const {
        const std::string weight = norm + ".weight";
        return plain_rms_norm_backward(rows, weights_.at(weight), options_.norm_epsilon, d_normed,
                                       gradients.at(weight));
    }

    std::vector<double> embed(const PlainBatch& batch) const {
        std::vector<double> rows;
        for (const int token : batch.tokens) {
            const auto row = weights_.at("embedding.weight").begin() + std::ptrdiff_t(token) * options_.hidden;
            rows.insert(rows.end(), row, row + options_.hidden);
        }
        return rows;
    }
    void embed_backward(const PlainBatch& batch, std::span<const double> d_rows, PlainWeights& gradients) const {
        const std::size_t width = options_.hidden;
        for (std::size_t t = 0; t < batch.tokens.size(); ++t)
            plain_add(std::span(gradients.at("embedding.weight")).subspan(batch.tokens[t] * width, width),
                      d_rows.subspan(t * width, width));
    }

    PlainRouting route(int layer, std::size_t moe_layer, std::span<const double> x, const PlainBatch& batch) const {
        auto logits = moe(layer).logits(x);
        if (!batch.noise.empty()) plain_add(logits, batch.noise[moe_layer]);
        const auto choices = batch.choices.empty() ? plain_choose(options_, logits) : batch.choices[moe_layer];
        return plain_route(options_, logits, choices, batch.rank_offsets);
    }

    // (softmax - one at the target) / T_loss in rows with a target.
    std::vector<double> loss_backward(const PlainBatch& batch, std::span<const double> logits,
                                      const Totals& totals) const {
        const std::size_t width = options_.vocabulary;
        std::vector<double> d_logits(logits.size());
        for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
            if (batch.targets[t] < 0) continue;
            auto d_row = plain_softmax(logits.subspan(t * width, width));
            d_row[batch.targets[t]] -= 1;
            for (std::size_t v = 0; v < width; ++v) d_logits[t * width + v] = d_row[v] / totals.loss_tokens;
        }
        return d_logits;
    }

    const ModelOptions& options_;
    const PlainWeights& weights_;
};

double cross_entropy_sum(const ModelOptions& options, const PlainBatch& batch, std::span<const double> logits) {
    const std::size_t width = options.vocabulary;
    double sum = 0;
    for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
        if (batch.targets[t] < 0) continue;
        const auto row = logits.subspan(t * width, width);
        sum += plain_log_sum_exp(row) - row[batch.targets[t]];
    }
    return sum;
}

void expect(bool holds, const char* what) {
    if (!holds) throw Error(concat("plain reference: in a batch, ", what));
}

void check_offsets(const std::vector<int>& offsets, std::size_t tokens) {
    expect(!offsets.empty() && offsets.front() == 0 && offsets.back() == int(tokens) && std::ranges::is_sorted(offsets),
           "offsets must rise from 0 to the number of tokens");
}

// The batch with its rank offsets filled in; throws when its arrays do not fit together.
PlainBatch checked(const ModelOptions& options, PlainBatch batch) {
    const std::size_t tokens = batch.tokens.size();
    if (batch.rank_offsets.empty()) batch.rank_offsets = {0, int(tokens)};
    check_offsets(batch.offsets, tokens);
    check_offsets(batch.rank_offsets, tokens);
    expect(batch.targets.size() == tokens, "there must be as many targets as tokens");
    for (const int token : batch.tokens)
        expect(token >= 0 && token < options.vocabulary, "tokens must be below the vocabulary");
    for (const int target : batch.targets)
        expect(target >= -1 && target < options.vocabulary, "targets must be -1 or below the vocabulary");

    std::size_t moe_layers = 0;
    for (int l = 0; l < options.layers; ++l) moe_layers += options.is_moe(l);
    expect(batch.choices.empty() || batch.choices.size() == moe_layers, "choices must be given for every MoE layer");
    for (const auto& choices : batch.choices) {
        expect(choices.size() == tokens * options.top_k, "choices must be [tokens, top_k]");
        for (const int expert : choices)
            expect(expert >= -1 && expert < options.experts, "choices must be -1 or below the experts");
    }
    expect(batch.noise.empty() || batch.noise.size() == moe_layers, "noise must be given for every MoE layer");
    for (const auto& noise : batch.noise)
        expect(noise.size() == tokens * options.experts, "noise must be [tokens, experts]");
    return batch;
}

// Adds the batch's share of the losses, balance_loss and z_loss still summed over layers.
void add_losses(const ModelOptions& options, const PlainBatch& batch, const Pass& pass, const Totals& totals,
                PlainResult& result) {
    if (totals.loss_tokens > 0) result.loss += cross_entropy_sum(options, batch, pass.logits) / totals.loss_tokens;
    for (int l = 0; l < options.layers; ++l) {
        if (!options.is_moe(l) || batch.tokens.empty()) continue;
        const PlainRouting& routing = pass.layers[l].routing;
        result.balance_loss += plain_balance_sum(options, routing, batch.rank_offsets) / totals.tokens;
        result.z_loss += plain_z_sum(options, routing) / totals.tokens;
    }
}

}  // namespace

PlainResult plain_step(const ModelOptions& given, const PlainWeights& weights,
                       std::span<const PlainBatch> micro_batches) {
    const ModelOptions options = given.resolved();
    plain_check_weights(options, weights);
    std::vector<PlainBatch> batches;
    Totals totals;
    for (const PlainBatch& batch : micro_batches) {
        batches.push_back(checked(options, batch));
        totals.tokens += int(batch.tokens.size());
        totals.loss_tokens += int(std::ranges::count_if(batch.targets, [](int target) { return target >= 0; }));
    }

    const Model model(options, weights);
    PlainResult result;
    result.gradients = plain_zeros(weights);
    for (const PlainBatch& batch : batches) {
        const Pass pass = model.forward(batch);
        add_losses(options, batch, pass, totals, result);
        PlainMicroBatch out;
        out.logits = pass.logits;
        for (int l = 0; l < options.layers; ++l)
            if (options.is_moe(l)) out.routings.push_back(pass.layers[l].routing);
        out.d_embedded = model.backward(batch, pass, totals, result.gradients);
        result.micro_batches.push_back(out);
    }
    result.objective =
        result.loss + options.balance_coefficient * result.balance_loss + options.z_coefficient * result.z_loss;
    result.gradient_norm = plain_gradient_norm(result.gradients);

    const int moe_layers = options.layers / options.moe_every;
    if (moe_layers > 0) {
        result.balance_loss /= moe_layers;
        result.z_loss /= moe_layers;
    }
    return result;
}

}  // namespace expar
