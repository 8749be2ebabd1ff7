#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "expar/comm/layout.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// A layout with a placement that fits it, and what a failed expectation calls them.
struct HostedModel {
    std::string name;
    Layout layout;
    Placement placement;
};

/// Experts with copies: expert 0 on every member, expert e on its own and, if e is odd, the next.
inline Placement placement_with_copies(int layers, int experts, int members) {
    std::vector<std::vector<int>> slots(members);
    for (int e = 0; e < experts; ++e)
        for (int m = 0; m < members; ++m)
            if (e == 0 || m == e % members || (e % 2 == 1 && m == (e + 1) % members)) slots[m].push_back(e);
    return {experts, std::vector(layers, slots)};
}

/// Every EP x DP of `ranks`, each with experts in a row, shuffled, and with copies.
inline std::vector<HostedModel> hosted_models(int ranks, int layers, int experts) {
    std::vector<HostedModel> models;
    for (int ep = 1; ep <= ranks; ++ep) {
        if (ranks % ep != 0) continue;
        const Layout layout(ranks, ep);
        models.push_back({layout.describe() + " linear", layout, linear_placement(layers, experts, ep)});
        models.push_back({layout.describe() + " shuffled", layout, shuffled_placement(layers, experts, ep, 7)});
        models.push_back({layout.describe() + " copies", layout, placement_with_copies(layers, experts, ep)});
    }
    return models;
}

/// The ranks that hold a block, ascending.
inline std::vector<int> hosts_of(const HostedModel& model, const BlockSpec& spec) {
    std::vector<int> hosts;
    for (int rank = 0; rank < model.layout.ranks(); ++rank) {
        const auto members =
            spec.role == Role::expert ? model.placement.hosts_of(spec.layer, spec.expert) : std::span<const int>();
        if (spec.role != Role::expert || std::ranges::count(members, model.layout.member_of(rank)) > 0)
            hosts.push_back(rank);
    }
    return hosts;
}

/// A small model in the order of describe_blocks(): a block longer than a bucket, short ones, and experts of two kinds
/// of length in two layers, one a whole number of 64 elements and one not.
inline std::vector<BlockSpec> small_blocks(int experts) {
    const auto tensor = [](std::string name, int rows, int cols) { return TensorSpec{std::move(name), rows, cols}; };
    std::vector<BlockSpec> blocks;
    blocks.push_back({Role::dense, -1, -1, {tensor("embedding.weight", 600, 512)}});
    for (int layer = 0; layer < 2; ++layer) {
        const auto prefix = concat("layers.", layer);
        blocks.push_back({Role::dense, layer, -1, {tensor(prefix + ".a.x", 3, 7), tensor(prefix + ".a.y", 5, 7)}});
        blocks.push_back({Role::router, layer, -1, {tensor(prefix + ".router.weight", experts, 7)}});
        for (int e = 0; e < experts; ++e)
            blocks.push_back({Role::expert,
                              layer,
                              e,
                              {tensor(concat(prefix, ".experts.", e, ".up.weight"), layer == 0 ? 64 : 5, 7)}});
    }
    blocks.push_back({Role::dense, -1, -1, {tensor("norm.weight", 1, 7)}});
    return blocks;
}

using Blocks = std::vector<std::unique_ptr<ParameterBlock>>;

inline Blocks held_blocks(Device& device, const HostedModel& model, const std::vector<BlockSpec>& specs, int rank) {
    Blocks blocks;
    for (const BlockSpec& spec : specs)
        if (std::ranges::count(hosts_of(model, spec), rank) > 0)
            blocks.push_back(std::make_unique<ParameterBlock>(device, DType::float32, spec));
    return blocks;
}

}  // namespace expar
