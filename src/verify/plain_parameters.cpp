#include "expar/verify/plain_parameters.hpp"

#include "expar/base/error.hpp"

namespace expar {
namespace {

using Sizes = std::map<std::string, std::size_t>;

void add_mlp(Sizes& sizes, const ModelOptions& options, const std::string& prefix, int width) {
    const std::size_t size = std::size_t(width) * options.hidden;
    if (options.activation == "swiglu") sizes[prefix + "gate.weight"] = size;
    sizes[prefix + "up.weight"] = size;
    sizes[prefix + "down.weight"] = size;
}

void add_attention(Sizes& sizes, const ModelOptions& options, const std::string& prefix) {
    const std::size_t query = std::size_t(options.heads) * options.head_size;
    const std::size_t key = std::size_t(options.kv_heads) * options.head_size;
    sizes[prefix + "query.weight"] = query * options.hidden;
    sizes[prefix + "key.weight"] = key * options.hidden;
    sizes[prefix + "value.weight"] = key * options.hidden;
    sizes[prefix + "output.weight"] = query * options.hidden;
    if (options.qk_norm == "none") return;
    const bool projection = options.qk_norm == "projection";
    sizes[prefix + "query_norm.weight"] = projection ? query : options.head_size;
    sizes[prefix + "key_norm.weight"] = projection ? key : options.head_size;
}

void add_moe(Sizes& sizes, const ModelOptions& options, const std::string& prefix) {
    sizes[prefix + "router.weight"] = std::size_t(options.experts) * options.hidden;
    for (int expert = 0; expert < options.experts; ++expert)
        add_mlp(sizes, options, concat(prefix, "experts.", expert, "."), options.intermediate);
    if (options.shared_intermediate == 0) return;
    add_mlp(sizes, options, prefix + "shared.", options.shared_intermediate);
    if (options.shared == "gated") sizes[prefix + "shared_gate.weight"] = options.hidden;
}

}  // namespace

Sizes plain_parameter_sizes(const ModelOptions& options) {
    Sizes sizes;
    sizes["embedding.weight"] = std::size_t(options.vocabulary) * options.hidden;
    if (!options.tied_head) sizes["head.weight"] = std::size_t(options.vocabulary) * options.hidden;
    sizes["norm.weight"] = options.hidden;
    for (int layer = 0; layer < options.layers; ++layer) {
        const std::string prefix = concat("layers.", layer, ".");
        sizes[prefix + "attention_norm.weight"] = options.hidden;
        sizes[prefix + "feed_forward_norm.weight"] = options.hidden;
        add_attention(sizes, options, prefix + "attention.");
        if (options.is_moe(layer))
            add_moe(sizes, options, prefix);
        else
            add_mlp(sizes, options, prefix + "dense.", options.dense_intermediate);
    }
    return sizes;
}

void plain_check_weights(const ModelOptions& options, const PlainWeights& weights) {
    const Sizes sizes = plain_parameter_sizes(options);
    for (const auto& [name, size] : sizes) {
        const auto found = weights.find(name);
        if (found == weights.end()) throw Error(concat("plain reference: the weights lack ", name));
        if (found->second.size() != size)
            throw Error(concat("plain reference: ", name, " has ", found->second.size(), " elements; expected ", size));
    }
    for (const auto& [name, values] : weights)
        if (!sizes.contains(name)) throw Error(concat("plain reference: the model has no parameter ", name));
}

PlainWeights plain_zeros(const PlainWeights& weights) {
    PlainWeights zeros;
    for (const auto& [name, values] : weights) zeros[name] = std::vector<double>(values.size());
    return zeros;
}

}  // namespace expar
