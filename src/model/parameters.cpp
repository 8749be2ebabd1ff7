#include "expar/model/parameters.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

#include "expar/model/attention_layer.hpp"
#include "expar/moe/balance.hpp"
#include "expar/moe/experts.hpp"

namespace expar {
namespace {

SharedExpert shared_expert(const ModelOptions& options) {
    if (options.shared_intermediate == 0) return SharedExpert::none;
    if (options.shared == "sum") return SharedExpert::sum;
    if (options.shared == "gated") return SharedExpert::gated;
    throw UserError(concat("unknown way to join the shared expert '", options.shared, "'; known: sum, gated"));
}

// What adds to the residual stream starts smaller, so that its variance does not grow with the number of layers
// (Radford et al., "Language models are unsupervised multitask learners", 2019).
void shrink_output_projections(BlockSpec& block, int layers) {
    for (auto& tensor : block.tensors)
        if (tensor.name.ends_with(".output.weight") || tensor.name.ends_with(".down.weight"))
            tensor.std /= std::sqrt(2.0 * layers);
}

bool hosted(const BlockSpec& spec, const Placement& placement, int member) {
    if (spec.role != Role::expert) return true;
    return std::ranges::count(placement.experts_on(spec.layer, member), spec.expert) > 0;
}

}  // namespace

MoeOptions moe_options(const ModelOptions& options, CombineOrder order) {
    return {.hidden = options.hidden,
            .intermediate = options.intermediate,
            .experts = options.experts,
            .top_k = options.top_k,
            .activation = activation_named(options.activation),
            .convention = router_convention(options.router),
            .router_noise = options.router_noise,
            .shared = shared_expert(options),
            .shared_intermediate = options.shared_intermediate,
            .capacity_factor = options.capacity_factor,
            .capacity_scope = scope_named(options.capacity_scope),
            .order = order,
            .initial_std = options.initial_std};
}

std::vector<BlockSpec> describe_blocks(const ModelOptions& options) {
    const double std = options.initial_std;
    const auto matrix = [&](const char* name) {
        return TensorSpec{name, options.vocabulary, options.hidden, TensorSpec::Initial::normal, std};
    };
    std::vector<BlockSpec> blocks;
    blocks.push_back({.tensors = {matrix("embedding.weight")}});
    for (int layer = 0; layer < options.layers; ++layer) {
        blocks.push_back({.layer = layer, .tensors = attention_tensors(options, layer)});
        if (options.is_moe(layer)) {
            // The order of combine changes no parameter.
            std::ranges::move(moe_blocks(moe_options(options, CombineOrder::exact), layer), std::back_inserter(blocks));
        } else {
            blocks.push_back({.layer = layer,
                              .tensors = feed_forward_tensors(concat("layers.", layer, ".dense"),
                                                              activation_named(options.activation), options.hidden,
                                                              options.dense_intermediate, std)});
        }
    }
    blocks.push_back({.tensors = {{"norm.weight", 1, options.hidden, TensorSpec::Initial::ones}}});
    if (!options.tied_head) blocks.push_back({.tensors = {matrix("head.weight")}});
    for (auto& block : blocks) shrink_output_projections(block, options.layers);
    return blocks;
}

Parameters::Parameters(Device& device, DType dtype, const ModelOptions& options, const Placement& placement, int member)
    : device_(device), dtype_(dtype) {
    for (auto& spec : describe_blocks(options))
        if (hosted(spec, placement, member))
            blocks_.push_back(std::make_unique<ParameterBlock>(device, dtype, std::move(spec)));
}

std::vector<ParameterBlock*> Parameters::of_layer(int layer) const {
    std::vector<ParameterBlock*> blocks;
    for (const auto& block : blocks_)
        if (block->spec().layer == layer) blocks.push_back(block.get());
    return blocks;
}

void Parameters::initialize(std::uint64_t seed) {
    for (const auto& block : blocks_) block->initialize(seed);
}

void Parameters::clear_gradients() {
    for (const auto& block : blocks_) block->clear_gradient();
}

}  // namespace expar
