#include "expar/store/golden.hpp"

#include <array>
#include <bit>
#include <functional>

#include "expar/base/error.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/store/isolated.hpp"

namespace expar {
namespace {

constexpr std::array text_fields = {&GoldenBlock::model,         &GoldenBlock::router,
                                    &GoldenBlock::activation,    &GoldenBlock::shared,
                                    &GoldenBlock::torch_version, &GoldenBlock::transformers_version};
constexpr std::array text_names = {"model", "router", "activation", "shared", "torch_version", "transformers_version"};
constexpr std::array integer_fields = {&GoldenBlock::hidden,  &GoldenBlock::intermediate,
                                       &GoldenBlock::experts, &GoldenBlock::top_k,
                                       &GoldenBlock::tokens,  &GoldenBlock::shared_intermediate};
constexpr std::array integer_names = {"hidden", "intermediate", "experts", "top_k", "tokens", "shared_intermediate"};

constexpr std::int64_t largest_size = 1 << 24;

struct Wanted {
    std::string name;
    int rows;
    int cols;
};

std::vector<Wanted> feed_forward(const GoldenBlock& block, const std::string& prefix, int width) {
    std::vector<Wanted> wanted;
    if (block.activation == "swiglu") wanted.push_back({prefix + ".gate.weight", width, block.hidden});
    wanted.push_back({prefix + ".up.weight", width, block.hidden});
    wanted.push_back({prefix + ".down.weight", block.hidden, width});
    return wanted;
}

std::vector<Wanted> wanted_weights(const GoldenBlock& block) {
    std::vector<Wanted> wanted = {{"router.weight", block.experts, block.hidden}};
    const auto add = [&wanted](const std::vector<Wanted>& more) {
        wanted.insert(wanted.end(), more.begin(), more.end());
    };
    if (block.shared != "none") add(feed_forward(block, "shared", block.shared_intermediate));
    if (block.shared == "gated") wanted.push_back({"shared_gate.weight", 1, block.hidden});
    for (int e = 0; e < block.experts; ++e) add(feed_forward(block, concat("experts.", e), block.intermediate));
    return wanted;
}

std::vector<Wanted> wanted_tensors(const GoldenBlock& block) {
    std::vector<Wanted> wanted = wanted_weights(block);
    for (auto& weight : wanted_weights(block)) wanted.push_back({"d_" + weight.name, weight.rows, weight.cols});
    for (const char* name : {"input", "d_output", "output", "d_input", "d_balance_input"})
        wanted.push_back({name, block.tokens, block.hidden});
    wanted.push_back({"weights", block.tokens, block.top_k});
    wanted.push_back({"d_balance_router.weight", block.experts, block.hidden});
    return wanted;
}

GoldenTensor read_tensor(const Hdf5File& file, const Wanted& wanted) {
    const Hdf5File::Shape expected = {wanted.rows, wanted.cols};
    const Hdf5File::Shape found = file.shape(wanted.name);
    const bool vector = wanted.rows == 1 && found == Hdf5File::Shape{wanted.cols};
    if (found != expected && !vector)
        throw UserError(concat(file.path().string(), ": ", wanted.name, " is ", describe(found), ", expected ",
                               describe(expected)));
    GoldenTensor tensor{wanted.rows, wanted.cols, std::vector<double>(count_of(expected))};
    file.read(wanted.name, tensor.values);
    return tensor;
}

void read_shape(const Hdf5File& file, GoldenBlock& block) {
    for (std::size_t i = 0; i < text_fields.size(); ++i) block.*text_fields[i] = file.text_attribute("", text_names[i]);
    for (std::size_t i = 0; i < integer_fields.size(); ++i) {
        const std::int64_t value = file.integer_attribute("", integer_names[i]);
        const bool may_be_zero = integer_fields[i] == &GoldenBlock::shared_intermediate;
        if (value < (may_be_zero ? 0 : 1) || value > largest_size)
            throw UserError(concat(file.path().string(), ": ", integer_names[i], " = ", value, ", expected ",
                                   may_be_zero ? 0 : 1, " to ", largest_size));
        block.*integer_fields[i] = int(value);
    }
    block.seed = file.integer_attribute("", "seed");
    if (block.shared != "none" && block.shared != "sum" && block.shared != "gated")
        throw UserError(concat(file.path().string(), ": shared = '", block.shared, "', known: none, sum, gated"));
    if (block.top_k > block.experts)
        throw UserError(
            concat(file.path().string(), ": top_k = ", block.top_k, ", expected at most experts = ", block.experts));
}

void read_choices(const Hdf5File& file, GoldenBlock& block) {
    const Hdf5File::Shape expected = {block.tokens, block.top_k};
    if (file.shape("choices") != expected)
        throw UserError(concat(file.path().string(), ": choices is ", describe(file.shape("choices")), ", expected ",
                               describe(expected)));
    block.choices.resize(count_of(expected));
    file.read("choices", block.choices);
    for (std::size_t i = 0; i < block.choices.size(); ++i)
        if (block.choices[i] < 0 || block.choices[i] >= block.experts)
            throw UserError(concat(file.path().string(), ": token ", i / block.top_k, " chose expert ",
                                   block.choices[i], " of ", block.experts));
}

// A golden file has no digest of ours, so this runs where a crash of HDF5 ends nothing else.
GoldenBlock read_file(const std::filesystem::path& path) {
    const Hdf5File file = Hdf5File::open(path);
    if (!file.has_attribute("", "format") || file.text_attribute("", "format") != golden_format)
        throw UserError(
            concat(path.string(), ": not a golden file (its attribute 'format' is not '", golden_format, "')"));
    GoldenBlock block;
    read_shape(file, block);
    read_choices(file, block);
    if (file.shape("balance_loss") != Hdf5File::Shape{1})
        throw UserError(
            concat(path.string(), ": balance_loss is ", describe(file.shape("balance_loss")), ", expected [1]"));
    file.read("balance_loss", std::span(&block.balance_loss, 1));
    (void)read_tensor(file, {"router.weight", block.experts, block.hidden});  // before a list of so many experts
    for (const auto& wanted : wanted_tensors(block)) block.tensors.emplace(wanted.name, read_tensor(file, wanted));
    return block;
}

// Field by field in one fixed order, as bytes: what travels from rank 0 to the others, which all run this program.
class Packer {
public:
    void put(const std::string& text) {
        put_size(text.size());
        bytes_ += text;
    }
    void put_size(std::uint64_t value) { put_raw(&value, sizeof value); }
    void put_raw(const void* data, std::size_t size) { bytes_.append(static_cast<const char*>(data), size); }
    [[nodiscard]] std::string take() { return std::move(bytes_); }

private:
    std::string bytes_;
};

class Unpacker {
public:
    explicit Unpacker(const std::string& bytes) : bytes_(bytes) {}
    std::string text() {
        const std::uint64_t length = size();
        expect(length);
        std::string value(length, '\0');
        raw(value.data(), value.size());
        return value;
    }
    std::uint64_t size() {
        std::uint64_t value = 0;
        raw(&value, sizeof value);
        return value;
    }
    void raw(void* out, std::size_t size) {
        expect(size);
        bytes_.copy(static_cast<char*>(out), size, at_);
        at_ += size;
    }

    // Before so much is allocated: the bytes come from a process that a damaged file may have led astray.
    void expect(std::size_t size) const {
        if (size > bytes_.size() - at_) throw UserError("golden file: its reader gave back too little");
    }

private:
    const std::string& bytes_;
    std::size_t at_ = 0;
};

std::string packed(const GoldenBlock& block) {
    Packer out;
    for (const auto field : text_fields) out.put(block.*field);
    for (const auto field : integer_fields) out.put_size(std::uint64_t(block.*field));
    out.put_size(std::uint64_t(block.seed));
    out.put_raw(block.choices.data(), block.choices.size() * sizeof(int));
    out.put_raw(&block.balance_loss, sizeof(double));
    for (const auto& wanted : wanted_tensors(block)) {
        const auto& values = block.tensors.at(wanted.name).values;
        out.put_raw(values.data(), values.size() * sizeof(double));
    }
    return out.take();
}

GoldenBlock unpacked(const std::string& bytes) {
    GoldenBlock block;
    Unpacker in(bytes);
    for (const auto field : text_fields) block.*field = in.text();
    for (const auto field : integer_fields) block.*field = int(in.size());
    block.seed = std::int64_t(in.size());
    in.expect(std::size_t(block.experts));
    in.expect(std::size_t(block.tokens) * block.top_k * sizeof(int));
    block.choices.resize(std::size_t(block.tokens) * block.top_k);
    in.raw(block.choices.data(), block.choices.size() * sizeof(int));
    in.raw(&block.balance_loss, sizeof(double));
    for (const auto& wanted : wanted_tensors(block)) {
        GoldenTensor tensor{wanted.rows, wanted.cols, {}};
        in.expect(std::size_t(wanted.rows) * wanted.cols * sizeof(double));
        tensor.values.resize(std::size_t(wanted.rows) * wanted.cols);
        in.raw(tensor.values.data(), tensor.values.size() * sizeof(double));
        block.tensors.emplace(wanted.name, std::move(tensor));
    }
    return block;
}

}  // namespace

const GoldenTensor& GoldenBlock::tensor(const std::string& name) const {
    const auto found = tensors.find(name);
    if (found == tensors.end()) throw Error(concat("golden block: has no tensor '", name, "'"));
    return found->second;
}

std::vector<std::string> GoldenBlock::weight_names() const {
    std::vector<std::string> names;
    for (const auto& wanted : wanted_weights(*this)) names.push_back(wanted.name);
    return names;
}

GoldenBlock read_golden(const std::filesystem::path& path) {
    const std::string bytes = isolated(path, limits_for(path), [&path] { return packed(read_file(path)); });
    return unpacked(bytes);
}

GoldenBlock read_golden(const std::filesystem::path& path, const Communicator& world) {
    std::string bytes;
    judge_on_root(world, [&] { bytes = packed(read_golden(path)); });
    return unpacked(world.broadcast(std::move(bytes), 0, {"golden file"}));
}

}  // namespace expar
