#include "expar/convert/safetensors.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "expar/base/error.hpp"

namespace expar {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors files are little-endian");

constexpr std::uint64_t largest_header = 100'000'000;  // as the format's own reader

struct ElementType {
    std::string_view name;
    std::uint64_t bytes;
};
constexpr std::array element_types = {ElementType{"F64", 8},  ElementType{"F32", 4},     ElementType{"F16", 2},
                                      ElementType{"BF16", 2}, ElementType{"I64", 8},     ElementType{"I32", 4},
                                      ElementType{"I16", 2},  ElementType{"I8", 1},      ElementType{"U64", 8},
                                      ElementType{"U32", 4},  ElementType{"U16", 2},     ElementType{"U8", 1},
                                      ElementType{"BOOL", 1}, ElementType{"F8_E4M3", 1}, ElementType{"F8_E5M2", 1}};

// Nothing when a size is negative or the product does not fit.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape, std::uint64_t element_bytes) {
    std::uint64_t bytes = element_bytes;
    for (const auto size : shape) {
        if (size < 0 || __builtin_mul_overflow(bytes, std::uint64_t(size), &bytes)) return std::nullopt;
    }
    return bytes;
}

// Whether lists and objects lie in one another deeper than a header needs; what stands in strings does not count.
bool is_deep(std::string_view json) {
    constexpr int deepest = 3;
    int depth = 0;
    bool quoted = false;
    for (std::size_t at = 0; at < json.size(); ++at) {
        const char c = json[at];
        if (c == '"') quoted = !quoted;
        if (quoted && c == '\\') ++at;
        if (quoted) continue;
        if ((c == '[' || c == '{') && ++depth > deepest) return true;
        if (c == ']' || c == '}') --depth;
    }
    return false;
}

// A JSON number with a point or an exponent may be any, and fits no integer.
bool holds_integers(const nlohmann::json& list) {
    return list.is_array() && std::ranges::all_of(list, [](const auto& value) { return value.is_number_integer(); });
}

SafetensorsFile::Tensor tensor_of(const nlohmann::json& entry) {
    SafetensorsFile::Tensor tensor;
    tensor.dtype = entry.at("dtype").get<std::string>();
    if (!holds_integers(entry.at("shape")) || !holds_integers(entry.at("data_offsets")))
        throw nlohmann::json::other_error::create(501, "no integers", &entry);
    tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
    const auto offsets = entry.at("data_offsets").get<std::array<std::uint64_t, 2>>();
    tensor.begin = offsets[0];
    tensor.end = offsets[1];
    return tensor;
}

}  // namespace

std::uint64_t NamedShape::bytes() const {
    return bytes_of(shape, sizeof(float)).value();
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, std::vector<NamedShape> tensors)
    : tensors_(std::move(tensors)), partial_(std::move(path)), out_(RawFile::create(partial_.temporary())) {
    nlohmann::ordered_json header;
    header["__metadata__"] = {{"format", "pt"}};  // what transformers asks for
    std::uint64_t at = 0;
    for (const auto& tensor : tensors_) {
        header[tensor.name] = {{"dtype", "F32"}, {"shape", tensor.shape}, {"data_offsets", {at, at + tensor.bytes()}}};
        at += tensor.bytes();
    }
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data is aligned
    const std::uint64_t length = text.size();
    out_.append(std::as_bytes(std::span(&length, 1)));
    out_.append(std::as_bytes(std::span(text)));
}

void SafetensorsWriter::append(std::span<const float> values) {
    if (next_ == tensors_.size() || values.size_bytes() != tensors_[next_].bytes())
        throw Error(concat("safetensors: tensor ", next_, " has ", values.size_bytes(), " bytes, expected ",
                           next_ == tensors_.size() ? 0 : tensors_[next_].bytes()));
    ++next_;
    out_.append(std::as_bytes(values));
}

void SafetensorsWriter::finish() {
    if (next_ != tensors_.size())
        throw Error(concat("safetensors: ", next_, " of ", tensors_.size(), " tensors were appended"));
    out_.close();
    partial_.commit();
}

void SafetensorsFile::fail(const std::string& what) const {
    throw UserError(concat(path_.string(), ": ", what));
}

SafetensorsFile::SafetensorsFile(std::filesystem::path path) : path_(std::move(path)), in_(path_, std::ios::binary) {
    std::error_code missing;
    const std::uint64_t file_bytes = std::filesystem::file_size(path_, missing);
    if (missing || !in_) fail(missing ? missing.message() : "cannot be read");
    std::uint64_t header_bytes = 0;
    if (!in_.read(reinterpret_cast<char*>(&header_bytes), sizeof header_bytes) || header_bytes > largest_header ||
        header_bytes > file_bytes - sizeof header_bytes)
        fail("not a safetensors file (its header does not fit)");
    std::string text(header_bytes, '\0');
    in_.read(text.data(), std::streamsize(text.size()));
    data_start_ = sizeof header_bytes + header_bytes;

    if (is_deep(text)) fail("not a safetensors file (its header has lists in lists)");
    const auto header = nlohmann::json::parse(text, nullptr, false);
    if (!header.is_object()) fail("not a safetensors file (its header is not a JSON object)");
    for (const auto& [name, entry] : header.items()) {
        try {
            if (name == "__metadata__")
                metadata_ = entry.get<std::map<std::string, std::string>>();
            else
                tensors_[name] = tensor_of(entry);
        } catch (const nlohmann::json::exception&) {
            fail(concat("the entry of ", name, " is not {dtype, shape, data_offsets}"));
        }
    }
    check_coverage(file_bytes - data_start_);
}

void SafetensorsFile::check_coverage(std::uint64_t data_bytes) const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> spans;
    for (const auto& [name, tensor] : tensors_) {
        const auto type = std::ranges::find(element_types, tensor.dtype, &ElementType::name);
        if (type == element_types.end()) fail(concat(name, " has the unknown type '", tensor.dtype, "'"));
        if (tensor.begin > tensor.end || bytes_of(tensor.shape, type->bytes) != tensor.end - tensor.begin)
            fail(concat(name, " lies in bytes ", tensor.begin, " to ", tensor.end, ", which its shape does not fill"));
        spans.emplace_back(tensor.begin, tensor.end);
    }
    std::ranges::sort(spans);
    std::uint64_t at = 0;
    for (const auto& [begin, end] : spans) {
        if (begin != at) fail(concat("a gap or overlap at byte ", at, " of the data"));
        at = end;
    }
    if (at != data_bytes) fail(concat("holds ", data_bytes, " bytes of data, its header ", at));
}

std::vector<float> SafetensorsFile::read(const std::string& name) {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) fail(concat(name, " is missing"));
    if (found->second.dtype != "F32") fail(concat(name, " is ", found->second.dtype, ", expected F32"));
    std::vector<float> values((found->second.end - found->second.begin) / sizeof(float));
    in_.clear();
    in_.seekg(std::streamoff(data_start_ + found->second.begin));
    if (!in_.read(reinterpret_cast<char*>(values.data()), std::streamsize(values.size() * sizeof(float))))
        fail(concat("reading ", name, " failed"));
    return values;
}

}  // namespace expar
