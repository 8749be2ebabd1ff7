#pragma once

#include <array>
#include <cstdint>
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
#include "expar/store/hdf5_file.hpp"

namespace expar {

inline constexpr std::string_view checkpoint_format = "expar-checkpoint-2";

/// What is stored of every block.
enum class Quantity { value, moment1, moment2 };
inline constexpr std::array all_quantities = {Quantity::value, Quantity::moment1, Quantity::moment2};

/// One block of the model as a checkpoint sees it from one rank. Its rows are float32 in host memory, [1, count];
/// without data where this rank does not hold the block, and moments without data where there are none.
struct StoredBlock {
    BlockSpec spec;
    int writer = 0;                        ///< the one of its holders that writes it
    ParameterBlock* parameters = nullptr;  ///< null: on other ranks
    Rows moment1;
    Rows moment2;

    [[nodiscard]] bool is_here() const { return parameters != nullptr; }
    [[nodiscard]] ConstRows rows(Quantity quantity) const;
    /// The same for writing.
    [[nodiscard]] Rows change(Quantity quantity) const;
};

/// Every block of the model in the order of describe_blocks(), whether this rank holds it or not; what several ranks
/// hold is shared out among them, so that all write about as much. The moments are left to the caller, whose optimizer
/// has them. `parameters` must outlive the result.
[[nodiscard]] std::vector<StoredBlock> stored_blocks(const ModelOptions& options, const Parameters& parameters,
                                                     const Placement& placement, const Layout& layout);

/// Where a checkpoint keeps a tensor, in each of the groups value, moment1 and moment2. An expert's is a slice of a
/// dataset that holds those of all experts: "layers.3.experts.17.up.weight" is slice 17 of
/// "layers.3.experts.up.weight".
struct StoredPlace {
    std::string dataset;
    int slice = -1;  ///< -1: all of it

    /// "layers.3.experts.up.weight[17]"
    [[nodiscard]] std::string name() const;
};
[[nodiscard]] StoredPlace stored_place(const BlockSpec& block, const TensorSpec& tensor);

/// The datasets of a model in the order in which its blocks need them: [rows, cols], stacked ones [E, rows, cols].
struct StoredDataset {
    std::string name;
    Hdf5File::Shape shape;
};
[[nodiscard]] std::vector<StoredDataset> stored_datasets(std::span<const BlockSpec> blocks);

/// What a checkpoint says of itself.
struct CheckpointHeader {
    std::string config;           ///< TOML: every option of the run
    int step = 0;                 ///< done
    std::uint64_t seed = 0;       ///< with the step it says which batch is next
    std::int64_t tokens = 0;      ///< trained so far
    double seconds = 0;           ///< of all steps
    std::int64_t text_bytes = 0;  ///< Corpus::bytes() of the training text
    std::uint64_t text_hash = 0;  ///< Corpus::hash()
    int ranks = 1;                ///< of the run that saved it
    int ep = 1;
    std::string version;  ///< of the program
    Placement placement;
    bool has_moments = false;
};

/// Writes a checkpoint, and its digest beside it, which is what makes it complete.
///
/// Rank 0 lays the file out under a temporary name; every rank writes its blocks into it; the name appears when all of
/// it is on disk, and then that of the digest. A checkpoint of the same name is replaced. Collective; throws UserError
/// on every rank alike when the file cannot be written on any, and leaves nothing of it behind.
void save_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                     std::span<const StoredBlock> blocks, const Communicator& world);

/// A checkpoint opened for reading. HDF5 sees it only after all of it agrees with its digest.
class CheckpointReader {
public:
    /// Local. Throws UserError, naming the file and what is damaged or missing.
    explicit CheckpointReader(const std::filesystem::path& path);
    /// The ranks share the work of checking, then each opens the file. Collective; throws on every rank alike.
    /// `world` must outlive it.
    CheckpointReader(const std::filesystem::path& path, const Communicator& world);

    [[nodiscard]] const CheckpointHeader& header() const { return header_; }

    /// Throws UserError, naming file and dataset, unless it holds these blocks in these shapes. Local.
    void expect(std::span<const BlockSpec> blocks) const;
    /// One block of a group (value, moment1, moment2), its tensors one after the other as in memory. Local.
    void read(const std::string& group, const BlockSpec& block, std::span<float> values) const;

    /// Fills the blocks that this rank holds, at any layout and number of ranks; moments where they have a place and
    /// the file has them. Changes nothing unless all shapes are right. Collective; throws on every rank alike.
    void load(std::span<const StoredBlock> blocks) const;

private:
    Hdf5File file_;
    CheckpointHeader header_;
    const Communicator* world_ = nullptr;
};

/// Of a checkpoint that agrees with its digest. Local; throws UserError.
[[nodiscard]] CheckpointHeader read_checkpoint_header(const std::filesystem::path& path);

}  // namespace expar
