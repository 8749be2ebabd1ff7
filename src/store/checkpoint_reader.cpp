#include <algorithm>
#include <optional>

#include "checkpoint_parts.hpp"
#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/digest.hpp"

namespace expar {
namespace {

Hdf5File open_verified(const std::filesystem::path& path) {
    verify_file(path);
    return Hdf5File::open(path);
}

Hdf5File open_verified(const std::filesystem::path& path, const Communicator& world) {
    verify_file(path, world);
    std::optional<Hdf5File> file;
    judge_everywhere(world, [&] { file.emplace(Hdf5File::open(path)); });
    return std::move(*file);
}

}  // namespace

CheckpointReader::CheckpointReader(const std::filesystem::path& path)
    : file_(open_verified(path)), header_(read_header(file_)) {}

CheckpointReader::CheckpointReader(const std::filesystem::path& path, const Communicator& world)
    : file_(open_verified(path, world)), world_(&world) {
    judge_everywhere(world, [&] { header_ = read_header(file_); });
}

void CheckpointReader::expect(std::span<const BlockSpec> blocks) const {
    const auto datasets = stored_datasets(blocks);
    for (const Quantity quantity : quantities_of(header_.has_moments))
        for (const StoredDataset& dataset : datasets) {
            const std::string name = concat(group_of(quantity), "/", dataset.name);
            if (const auto found = file_.shape(name); found != dataset.shape)
                throw UserError(concat(file_.path().string(), ": ", name, " is ", describe(found), ", the model needs ",
                                       describe(dataset.shape)));
        }
}

void CheckpointReader::read(const std::string& group, const BlockSpec& block, std::span<float> values) const {
    if (values.size() != block.count())
        throw Error(concat("checkpoint: ", values.size(), " values for ", block.name(), ", expected ", block.count()));
    for (const TensorSpec& tensor : block.tensors) {
        const StoredPlace place = stored_place(block, tensor);
        file_.read_slices(concat(group, "/", place.dataset), std::max(0, place.slice), values.first(tensor.count()));
        values = values.subspan(tensor.count());
    }
}

void CheckpointReader::load(std::span<const StoredBlock> blocks) const {
    if (!world_) throw Error("checkpoint: load() needs a reader that was opened by all ranks");
    judge_everywhere(*world_, [&] { expect(specs_of(blocks)); });
    judge_everywhere(*world_, [&] {
        const StuckCallWatch watch(*world_->policy(), {"reading a checkpoint"}, world_->rank(), "HDF5");
        for (const Quantity quantity : quantities_of(header_.has_moments))
            for (const StoredBlock& block : blocks)
                if (block.rows(quantity).data())
                    read(group_of(quantity), block.spec, block.change(quantity).row<float>(0));
    });
}

CheckpointHeader read_checkpoint_header(const std::filesystem::path& path) {
    return CheckpointReader(path).header();
}

}  // namespace expar
