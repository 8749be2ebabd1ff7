#include "expar/store/checkpoint.hpp"

#include <algorithm>
#include <map>
#include <optional>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/hdf5_file.hpp"

namespace expar {
namespace {

// The three things that are stored of every tensor, each in a group of its own.
struct Quantity {
    const char* group;
    Rows StoredBlock::*rows;
};
constexpr Quantity quantities[] = {
    {"value", &StoredBlock::value}, {"moment1", &StoredBlock::moment1}, {"moment2", &StoredBlock::moment2}};

std::span<const Quantity> quantities_of(bool moments) {
    return {quantities, moments ? std::size_t{3} : std::size_t{1}};
}

std::span<float> floats(const Rows& rows) {
    return rows.row<float>(0);
}

Rows one_row(std::vector<float>& values) {
    return {values.data(), 1, int(values.size()), DType::float32};
}

template <class Visit>  // visit(name, shape, first element of the flat block)
void for_each_tensor(const BlockSpec& spec, const char* group, Visit&& visit) {
    std::size_t first = 0;
    for (const auto& tensor : spec.tensors) {
        visit(concat(group, "/", tensor.name), Hdf5File::Shape{tensor.rows, tensor.cols}, first);
        first += tensor.count();
    }
}

void write_block(Hdf5File& file, const BlockSpec& spec, const char* group, std::span<const float> values) {
    for_each_tensor(spec, group, [&](const std::string& name, const Hdf5File::Shape& shape, std::size_t first) {
        file.write(name, values.subspan(first, count_of(shape)), shape);
    });
}

void read_block(const Hdf5File& file, const BlockSpec& spec, const char* group, std::span<float> values) {
    for_each_tensor(spec, group, [&](const std::string& name, const Hdf5File::Shape& shape, std::size_t first) {
        file.read(name, values.subspan(first, count_of(shape)));
    });
}

void check_block(const Hdf5File& file, const BlockSpec& spec, const char* group) {
    for_each_tensor(spec, group, [&](const std::string& name, const Hdf5File::Shape& shape, std::size_t) {
        const auto found = file.shape(name);
        if (found != shape)
            throw UserError(concat(file.path().string(), ": ", name, " is ", describe(found), ", the model needs ",
                                   describe(shape)));
    });
}

CheckpointHeader read_header(const Hdf5File& file) {
    if (!file.has_attribute("", "format") || file.text_attribute("", "format") != checkpoint_format)
        throw UserError(concat(file.path().string(), ": not a checkpoint (its attribute 'format' is not '",
                               checkpoint_format, "')"));
    CheckpointHeader header;
    header.config = file.text_attribute("", "config");
    header.step = int(file.integer_attribute("", "step"));
    header.has_moments = file.contains("moment1") && file.contains("moment2");
    if (!file.contains("value")) throw UserError(concat(file.path().string(), ": value is missing"));
    return header;
}

// Rank 0's side of a save: what fails there is kept until all ranks have done their part.
class Writer {
public:
    Writer(std::filesystem::path path, const Communicator& world)
        : path_(std::move(path)), temporary_(path_.string() + ".partial"), world_(world) {}

    template <class Work>
    void attempt(Work&& work) {
        if (!complaint_.empty()) return;
        const StuckCallWatch watch(*world_.policy(), {"writing a checkpoint"}, world_.rank(), "HDF5");
        try {
            work();
        } catch (const UserError& error) {
            complaint_ = error.what();
        } catch (const std::filesystem::filesystem_error& error) {
            complaint_ = concat(path_.string(), ": cannot be written: ", error.code().message());
        }
    }

    void begin(const CheckpointHeader& header) {
        attempt([&] {
            if (path_.has_parent_path()) std::filesystem::create_directories(path_.parent_path());
            file_.emplace(Hdf5File::create(temporary_));
            file_->set_attribute("", "format", std::string(checkpoint_format));
            file_->set_attribute("", "config", header.config);
            file_->set_attribute("", "step", std::int64_t(header.step));
        });
    }

    void write(const BlockSpec& spec, const char* group, std::span<const float> values) {
        attempt([&] { write_block(*file_, spec, group, values); });
    }

    // Complete or absent: the name appears when everything is on disk.
    void finish() {
        attempt([&] {
            file_->close();
            std::filesystem::rename(temporary_, path_);
        });
        if (complaint_.empty()) return;
        file_.reset();
        std::error_code ignored;
        std::filesystem::remove(temporary_, ignored);
        throw UserError(complaint_);
    }

private:
    std::filesystem::path path_;
    std::filesystem::path temporary_;
    const Communicator& world_;
    std::optional<Hdf5File> file_;
    std::string complaint_;
};

void check_layout(std::span<const StoredBlock> blocks, bool moments) {
    for (const auto& block : blocks)
        for (const auto& quantity : quantities_of(moments)) {
            const Rows& rows = block.*quantity.rows;
            if (block.is_here() && (rows.data() == nullptr || std::size_t(rows.cols()) != block.spec.count()))
                throw Error(concat("checkpoint: ", block.spec.name(), " has ", rows.cols(), " elements of ",
                                   quantity.group, ", expected ", block.spec.count()));
        }
}

}  // namespace

std::vector<StoredBlock> stored_blocks(const ModelOptions& options, const Parameters& parameters,
                                       const Placement& placement, const Layout& layout) {
    // By its first tensor: the common name of a block may also be that of another.
    std::map<std::string, ParameterBlock*> held;
    for (const auto& block : parameters.blocks()) held[block->spec().tensors.front().name] = block.get();

    std::vector<StoredBlock> stored;
    for (auto& spec : describe_blocks(options)) {
        StoredBlock block;
        if (spec.role == Role::expert)
            block.writer = layout.rank_of(0, placement.hosts_of(spec.layer, spec.expert).front());
        if (const auto here = held.find(spec.tensors.front().name); here != held.end())
            block.value = here->second->flat_value();
        block.spec = std::move(spec);
        stored.push_back(std::move(block));
    }
    return stored;
}

void save_checkpoint(const std::filesystem::path& path, const CheckpointHeader& header,
                     std::span<const StoredBlock> blocks, const Communicator& world) {
    check_layout(blocks, header.has_moments);
    const Occasion occasion{"saving a checkpoint"};
    Writer writer(path, world);
    if (world.rank() == 0) writer.begin(header);
    std::vector<float> received;
    for (const auto& block : blocks)
        for (const auto& quantity : quantities_of(header.has_moments)) {
            if (world.rank() == block.writer && world.rank() != 0)
                world.start_send(block.*quantity.rows, 0, occasion).finish();
            if (world.rank() != 0) continue;
            received.resize(block.spec.count());
            if (block.writer != 0) world.start_receive(one_row(received), block.writer, occasion).finish();
            writer.write(block.spec, quantity.group,
                         block.writer == 0 ? floats(block.*quantity.rows) : std::span<float>(received));
        }
    judge_on_root(world, [&] { writer.finish(); });
}

CheckpointHeader read_checkpoint_header(const std::filesystem::path& path) {
    return read_header(Hdf5File::open(path));
}

CheckpointHeader load_checkpoint(const std::filesystem::path& path, std::span<const StoredBlock> blocks,
                                 const Communicator& world) {
    std::optional<Hdf5File> file;
    CheckpointHeader header;
    judge_on_root(world, [&] {
        const StuckCallWatch watch(*world.policy(), {"reading a checkpoint"}, world.rank(), "HDF5");
        file.emplace(Hdf5File::open(path));
        header = read_header(*file);
        for (const auto& block : blocks)
            for (const auto& quantity : quantities_of(header.has_moments))
                check_block(*file, block.spec, quantity.group);
    });
    header.config = world.broadcast(header.config, 0, {"checkpoint"});
    int numbers[] = {header.step, int(header.has_moments)};
    world.broadcast(Rows(numbers, 1, 2, DType::int32), 0, {"checkpoint"});
    header.step = numbers[0];
    header.has_moments = numbers[1] != 0;

    // Moments travel only when somebody has a place for them.
    int wanted = std::ranges::any_of(blocks, [](const auto& block) { return block.moment1.data() != nullptr; });
    world.max(std::span(&wanted, 1), {"loading a checkpoint"});
    std::vector<float> values;
    for (const auto& block : blocks)
        for (const auto& quantity : quantities_of(header.has_moments && wanted != 0)) {
            values.resize(block.spec.count());
            judge_on_root(world, [&] {
                const StuckCallWatch watch(*world.policy(), {"reading a checkpoint"}, world.rank(), "HDF5");
                read_block(*file, block.spec, quantity.group, values);
            });
            world.broadcast(one_row(values), 0, {"loading a checkpoint"});
            if ((block.*quantity.rows).data()) std::ranges::copy(values, floats(block.*quantity.rows).begin());
        }
    return header;
}

}  // namespace expar
