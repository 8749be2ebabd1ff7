#pragma once

#include <span>

#include "expar/store/checkpoint.hpp"

namespace expar {

[[nodiscard]] inline std::span<const Quantity> quantities_of(bool moments) {
    return std::span(all_quantities).first(moments ? 3 : 1);
}

/// The group of a checkpoint that has a quantity of every tensor.
[[nodiscard]] inline const char* group_of(Quantity quantity) {
    switch (quantity) {
        case Quantity::value:
            return "value";
        case Quantity::moment1:
            return "moment1";
        case Quantity::moment2:
            return "moment2";
    }
    return "";
}

[[nodiscard]] inline std::vector<BlockSpec> specs_of(std::span<const StoredBlock> blocks) {
    std::vector<BlockSpec> specs;
    for (const StoredBlock& block : blocks) specs.push_back(block.spec);
    return specs;
}

/// A placement as a checkpoint keeps it: how many experts each member of each layer has, and which. Throws UserError
/// for what is no placement; takes memory in proportion to what is given.
[[nodiscard]] Placement unpack_placement(std::size_t members, std::span<const std::int32_t> counts,
                                         std::span<const std::int32_t> listed);

/// All of a checkpoint but its tensors: attributes, and the placement as two datasets.
void write_header(Hdf5File& file, const CheckpointHeader& header);
/// Throws UserError when `file` is not a checkpoint, or one that no program of ours can have written.
[[nodiscard]] CheckpointHeader read_header(const Hdf5File& file);

}  // namespace expar
