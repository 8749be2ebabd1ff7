#include "expar/store/checkpoint.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include "expar/base/error.hpp"

namespace expar {
namespace {

// Gives each block to the one of its holders that has the least to write; blocks with few holders choose first.
void share_out(std::span<StoredBlock> blocks, const Placement& placement, const Layout& layout) {
    std::vector<std::size_t> written(std::size_t(layout.ranks()));
    const auto give = [&](StoredBlock& block, std::span<const int> holders) {
        block.writer = *std::ranges::min_element(holders, {}, [&](int rank) { return written[rank]; });
        written[block.writer] += block.spec.count();
    };
    for (StoredBlock& block : blocks) {
        if (block.spec.role != Role::expert) continue;
        std::vector<int> holders;
        for (int group = 0; group < layout.dp(); ++group)
            for (const int member : placement.hosts_of(block.spec.layer, block.spec.expert))
                holders.push_back(layout.rank_of(group, member));
        give(block, holders);
    }
    std::vector<int> all(std::size_t(layout.ranks()));
    std::iota(all.begin(), all.end(), 0);
    for (StoredBlock& block : blocks)
        if (block.spec.role != Role::expert) give(block, all);
}

}  // namespace

ConstRows StoredBlock::rows(Quantity quantity) const {
    if (quantity == Quantity::value) return is_here() ? parameters->flat_value() : ConstRows();
    return change(quantity);
}

Rows StoredBlock::change(Quantity quantity) const {
    switch (quantity) {
        case Quantity::value:
            return is_here() ? parameters->change_flat() : Rows();
        case Quantity::moment1:
            return moment1;
        case Quantity::moment2:
            return moment2;
    }
    return {};
}

std::vector<StoredBlock> stored_blocks(const ModelOptions& options, const Parameters& parameters,
                                       const Placement& placement, const Layout& layout) {
    // By its first tensor: the common name of a block may also be that of another.
    std::map<std::string, ParameterBlock*> held;
    for (const auto& block : parameters.blocks()) held[block->spec().tensors.front().name] = block.get();

    std::vector<StoredBlock> stored;
    for (auto& spec : describe_blocks(options)) {
        StoredBlock block;
        if (const auto here = held.find(spec.tensors.front().name); here != held.end()) block.parameters = here->second;
        block.spec = std::move(spec);
        stored.push_back(std::move(block));
    }
    share_out(stored, placement, layout);
    return stored;
}

std::string StoredPlace::name() const {
    return slice < 0 ? dataset : concat(dataset, "[", slice, "]");
}

StoredPlace stored_place(const BlockSpec& block, const TensorSpec& tensor) {
    if (block.role != Role::expert) return {tensor.name};
    const std::string among = concat(".experts.", block.expert, ".");
    const std::size_t at = tensor.name.find(among);
    if (at == std::string::npos) throw Error(concat("checkpoint: ", tensor.name, " is no tensor of ", block.name()));
    std::string dataset = tensor.name;
    return {dataset.replace(at, among.size(), ".experts."), block.expert};
}

std::vector<StoredDataset> stored_datasets(std::span<const BlockSpec> blocks) {
    std::vector<StoredDataset> datasets;
    std::map<std::string, std::size_t> known;
    for (const BlockSpec& block : blocks)
        for (const TensorSpec& tensor : block.tensors) {
            const StoredPlace place = stored_place(block, tensor);
            const auto [entry, is_new] = known.try_emplace(place.dataset, datasets.size());
            if (is_new && place.slice < 0) datasets.push_back({place.dataset, {tensor.rows, tensor.cols}});
            if (is_new && place.slice >= 0) datasets.push_back({place.dataset, {0, tensor.rows, tensor.cols}});
            if (place.slice < 0) continue;
            auto& stacked = datasets[entry->second].shape.front();
            stacked = std::max(stacked, std::int64_t{place.slice} + 1);
        }
    return datasets;
}

}  // namespace expar
