#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/layout.hpp"
#include "expar/model/parameters.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// One block of the model as a checkpoint sees it from one rank. Views of float32 in host memory, [1, count]; without
/// data where this rank does not hold the block, and moments without data where there are none.
struct StoredBlock {
    BlockSpec spec;
    int writer = 0;  ///< the first rank that holds it
    Rows value;
    Rows moment1;
    Rows moment2;

    [[nodiscard]] bool is_here() const { return value.data() != nullptr; }
};

/// Every block of the model in the order of describe_blocks(), whether this rank holds it or not. The moments are left
/// to the caller, whose optimizer has them. `parameters` must outlive the result.
[[nodiscard]] std::vector<StoredBlock> stored_blocks(const ModelOptions& options, const Parameters& parameters,
                                                     const Placement& placement, const Layout& layout);

/// What a checkpoint says of itself.
struct CheckpointHeader {
    std::string config;  ///< TOML: every option of the run
    int step = 0;
    bool has_moments = false;
};

inline constexpr std::string_view checkpoint_format = "expar-checkpoint-1";

/// Writes value/NAME, and moment1/NAME and moment2/NAME where `header` says so, for every tensor of every block.
///
/// Rank 0 writes, under a temporary name that becomes `path` when all is on disk; a block that it does not hold is sent
/// by its writer, one at a time. Collective; throws UserError on every rank when the file cannot be written.
void save_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                     std::span<const StoredBlock> blocks, const Communicator& world);

/// Throws UserError, naming the file and what is missing. Local.
[[nodiscard]] CheckpointHeader read_checkpoint_header(const std::filesystem::path& path);

/// Fills the blocks that this rank holds, at any layout and number of ranks; moments where they have a place.
///
/// Rank 0 reads and judges the whole file before any block is changed, then gives one block at a time to all.
/// Collective; throws UserError on every rank, naming the file, the tensor, and what was expected.
CheckpointHeader load_checkpoint(const std::filesystem::path& path, std::span<const StoredBlock> blocks,
                                 const Communicator& world);

}  // namespace expar
