#include "expar/moe/moe_layer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "expar/compute/matrix_product.hpp"
#include "expar/compute/rows.hpp"
#include "expar/compute/update.hpp"

namespace expar {
namespace {

// A plan groups rows by slot, while blocks are held by ascending expert.
std::vector<ParameterBlock*> by_slot(const std::vector<ParameterBlock*>& blocks, std::span<const int> slots) {
    std::vector<ParameterBlock*> experts;
    for (const int expert : slots) {
        const auto block = std::ranges::find(blocks, expert, [](ParameterBlock* held) { return held->spec().expert; });
        if (block == blocks.end()) throw Error(concat("expert layer: the block of expert ", expert, " is missing"));
        experts.push_back(*block);
    }
    return experts;
}

}  // namespace

std::vector<BlockSpec> moe_blocks(const MoeOptions& options, int layer) {
    using Initial = TensorSpec::Initial;
    const std::string prefix = concat("layers.", layer);
    std::vector<BlockSpec> blocks;
    blocks.push_back(
        {Role::router,
         layer,
         -1,
         {{prefix + ".router.weight", options.experts, options.hidden, Initial::normal, options.initial_std}}});
    if (options.shared != SharedExpert::none) {
        BlockSpec shared{Role::dense, layer, -1,
                         feed_forward_tensors(prefix + ".shared", options.activation, options.hidden,
                                              options.shared_intermediate, options.initial_std)};
        if (options.shared == SharedExpert::gated)
            shared.tensors.push_back(
                {prefix + ".shared_gate.weight", 1, options.hidden, Initial::normal, options.initial_std});
        blocks.push_back(std::move(shared));
    }
    for (int e = 0; e < options.experts; ++e)
        blocks.push_back({Role::expert, layer, e,
                          feed_forward_tensors(concat(prefix, ".experts.", e), options.activation, options.hidden,
                                               options.intermediate, options.initial_std)});
    return blocks;
}

MoeLayer::MoeLayer(const MoeOptions& options, int layer, const MoeRuntime& runtime, std::vector<ParameterBlock*> blocks)
    : options_(options),
      layer_(layer),
      runtime_(runtime),
      router_(blocks.at(0)),
      experts_(*runtime.device, options.activation,
               by_slot(blocks, runtime.placement->experts_on(layer, runtime.member))) {
    if (options.shared == SharedExpert::none) return;
    shared_block_ = blocks.at(1);
    shared_.emplace(*runtime.device, options.activation, std::vector{shared_block_});
}

MoeLayer::Forward MoeLayer::forward(ConstRows x, const TokenScope& scope, bool training) const {
    MoeState state;
    {
        const Span span(runtime_.clock, Phase::router, layer_);
        state.routing = route(x, scope, training, state);
    }
    Matrix y = run_experts(x, scope, state);
    if (shared_) add_shared(state, y);
    return {std::move(y), std::move(state)};
}

Routing MoeLayer::route(ConstRows x, const TokenScope& scope, bool training, MoeState& state) const {
    Device& device = *runtime_.device;
    state.logits = score(x, router_->weight(0, 1, wide(x.dtype())), device);
    if (training) perturb(state.logits, options_.router_noise, layer_, scope);
    Routing routing;
    routing.tokens = x.rows();
    routing.top_k = options_.top_k;
    routing.experts = select(state.logits, options_.top_k, device);
    state.weighing = weigh(options_.convention, state.logits, routing.experts, options_.top_k, device);
    routing.weights = std::move(state.weighing.weights);
    routing.kept = place(routing.experts, training ? options_.capacity_factor : 0);
    observe(routing, state);
    return routing;
}

// Which choices find a place: with scope `all`, behind those of the ranks before this one.
Array<int> MoeLayer::place(const Array<int>& experts, double capacity_factor) const {
    Device& device = *runtime_.device;
    std::vector<int> taken(options_.experts);
    if (capacity_factor == 0) return drop(experts, 0, taken, device);
    const int tokens = int(experts.size()) / options_.top_k;
    std::int64_t tokens_of_scope = tokens;
    if (options_.capacity_scope == Scope::all) {
        std::vector<int> asked(options_.experts + 1);
        asked.back() = tokens;
        device.routing().count(experts.view(), std::span(asked).first(options_.experts), device.stream());
        const auto all = runtime_.world->all_gather(asked, {"capacity", layer_});
        tokens_of_scope = 0;
        for (int rank = 0; rank < runtime_.world->size(); ++rank) {
            const auto* row = all.data() + std::size_t(rank) * asked.size();
            tokens_of_scope += row[options_.experts];
            for (int e = 0; rank < runtime_.world->rank() && e < options_.experts; ++e) taken[e] += row[e];
        }
    }
    const int capacity = capacity_of(capacity_factor, options_.top_k, tokens_of_scope, options_.experts);
    return drop(experts, capacity, taken, device);
}

void MoeLayer::observe(const Routing& routing, MoeState& state) const {
    Device& device = *runtime_.device;
    RouterStatistics statistics(options_.experts);
    std::vector<int> counts(options_.experts);
    device.routing().count(routing.experts.view(), counts, device.stream());
    std::ranges::copy(counts, statistics.choices.begin());
    device.routing().sum_over_tokens(state.weighing.probabilities, statistics.probabilities, device.stream());
    statistics.squared_log_sum_exp = device.update().sum_of_squares(state.weighing.log_sum_exp, device.stream());
    statistics.entropy = device.routing().sum_of_entropies(state.logits, state.weighing.probabilities,
                                                           state.weighing.log_sum_exp, device.stream());
    statistics.tokens = routing.tokens;
    statistics.dropped = routing.dropped();
    state.statistics = std::move(statistics);
}

void MoeLayer::run_shared(ConstRows x, MoeState& state) const {
    const Span span(runtime_.clock, Phase::shared, layer_);
    Device& device = *runtime_.device;
    state.shared_out = Matrix(device, x.dtype(), x.rows(), x.cols());
    state.shared = shared_->forward(x, std::array{0, x.rows()}, state.shared_out);
    if (options_.shared == SharedExpert::gated)
        state.shared_logit = score(x, shared_block_->weight(gate_tensor(), 1, wide(x.dtype())), device);
}

void MoeLayer::add_shared(const MoeState& state, Rows y) const {
    const Span span(runtime_.clock, Phase::shared, layer_);
    const RowOperations& rows = runtime_.device->rows();
    Stream& stream = runtime_.device->stream();
    if (options_.shared == SharedExpert::gated)
        rows.sigmoid_gate(state.shared_out, state.shared_logit, y, Write::add, stream);
    else
        rows.add(state.shared_out, y, stream);
}

int MoeLayer::gate_tensor() const {
    return int(shared_block_->spec().tensors.size()) - 1;
}

}  // namespace expar
