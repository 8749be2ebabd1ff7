#include "expar/convert/trace_import.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <sstream>

#include "expar/base/error.hpp"
#include "expar/base/names.hpp"
#include "trace_text.hpp"

namespace expar {
namespace {

/// How a type of integers lies in a file.
struct IdType {
    std::string_view name;   ///< as --dtype gives it
    std::string_view numpy;  ///< behind the byte order
    std::int64_t (*read)(const char* bytes);
    std::size_t bytes;
};

template <class T>
std::int64_t read_as(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value > T(std::numeric_limits<std::int32_t>::max()) ? std::numeric_limits<std::int32_t>::max()
                                                               : std::int64_t(value);
}
// Of 8 and 16 bits, where the largest 32-bit number is none.
template <class T>
std::int64_t read_small(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

constexpr std::array id_types = {
    IdType{"u8", "u1", read_small<std::uint8_t>, 1},   IdType{"i8", "i1", read_small<std::int8_t>, 1},
    IdType{"u16", "u2", read_small<std::uint16_t>, 2}, IdType{"i16", "i2", read_small<std::int16_t>, 2},
    IdType{"u32", "u4", read_as<std::uint32_t>, 4},    IdType{"i32", "i4", read_as<std::int32_t>, 4},
    IdType{"u64", "u8", read_as<std::uint64_t>, 8},    IdType{"i64", "i8", read_as<std::int64_t>, 8},
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::string text;
    for (const auto size : shape) text += concat(text.empty() ? "" : ",", size);
    return text;
}

// Fills in the size that was left open, and adds the one layer of a shape without layers.
std::vector<std::int64_t> completed(std::vector<std::int64_t> shape, std::size_t ids, const std::string& name) {
    const auto refuse = [&](const std::string& why) {
        throw UserError(concat(name, ": shape ", shape_text(shape), ": ", why));
    };
    if (shape.size() != 2 && shape.size() != 3) refuse("expected tokens,layers,choices or tokens,choices");
    if (shape.size() == 2) shape.insert(shape.begin() + 1, 1);
    std::size_t product = 1;
    for (const auto size : shape) {
        if (size != -1 && (size < 1 || size > std::numeric_limits<std::int32_t>::max()))
            refuse("expected sizes of at least 1, one of which may be -1");
        if (size > 0 && product > std::numeric_limits<std::size_t>::max() / std::size_t(size)) refuse("too large");
        if (size > 0) product *= std::size_t(size);
    }
    const auto open = std::ranges::count(shape, -1);
    if (open > 1) refuse("expected sizes of at least 1, one of which may be -1");
    if (open == 1 && (ids == 0 || ids % product != 0))
        refuse(concat(ids, " ids are there, expected a multiple of ", product));
    if (open == 1)
        std::ranges::replace(shape, -1, std::int64_t(ids / product));
    else if (ids != product)
        refuse(concat(ids, " ids are there, expected ", product));
    return shape;
}

RoutingTrace from_ids(std::string_view bytes, const IdType& type, const std::vector<std::int64_t>& wanted,
                      const std::string& name, int experts) {
    if (bytes.size() % type.bytes != 0)
        throw UserError(
            concat(name, ": ", bytes.size(), " bytes, expected a multiple of ", type.bytes, " for ", type.name));
    const auto shape = completed(wanted, bytes.size() / type.bytes, name);
    RoutingTrace trace;
    trace.experts = experts;
    trace.top_k = int(shape[2]);
    trace.layers.resize(std::size_t(shape[1]));
    std::iota(trace.layers.begin(), trace.layers.end(), 0);
    trace.choices.reserve(bytes.size() / type.bytes);
    for (std::size_t at = 0; at < bytes.size(); at += type.bytes)
        trace.choices.push_back(checked_id(type.read(bytes.data() + at), experts, [&] {
            const std::size_t id = at / type.bytes, row = id / std::size_t(trace.top_k);
            return concat(name, ": token ", row / trace.layers.size(), ", layer ", row % trace.layers.size());
        }));
    trace.documents = {{dataset_of(name), "", false, shape[0]}};
    trace.validate(name);
    return trace;
}

// The value of a key in the header of a .npy file, a literal of a Python dict: up to the comma or brace behind it.
std::string_view npy_value(std::string_view header, std::string_view key, const std::string& name) {
    const std::size_t at = header.find(concat("'", key, "':"));
    if (at == std::string_view::npos) throw UserError(concat(name, ": a .npy file whose header has no '", key, "'"));
    std::string_view value = header.substr(at + key.size() + 3);
    value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
    const std::size_t end = value.starts_with('(') ? value.find(')') : value.find_first_of(",}");
    return value.substr(0, end);
}

std::vector<std::int64_t> npy_shape(std::string_view text, const std::string& name) {
    std::vector<std::int64_t> shape;
    text.remove_prefix(std::min<std::size_t>(1, text.size()));
    while (!text.empty()) {
        const std::size_t comma = std::min(text.find(','), text.size());
        const std::string word(text.substr(0, comma));
        text.remove_prefix(std::min(comma + 1, text.size()));
        if (word.find_first_not_of(' ') == std::string::npos) continue;
        shape.push_back(whole_number_of(word.substr(word.find_first_not_of(' ')), concat(name, ": shape")));
        if (shape.back() < 1) throw UserError(concat(name, ": shape has ", shape.back(), ", expected at least 1"));
    }
    return shape;
}

}  // namespace

RoutingTrace import_ids(const NamedText& file, const IdLayout& layout, int experts) {
    return from_ids(file.text, entry_named(id_types, "type of ids", layout.type), layout.shape, file.name, experts);
}

// Magic, two bytes of version, the header's length in 2 (version 1) or 4 bytes, the header, the array.
RoutingTrace import_npy(const NamedText& file, int experts) {
    const std::string_view text = file.text;
    const auto refuse = [&](const std::string& why) { throw UserError(concat(file.name, ": ", why)); };
    if (!text.starts_with("\x93NUMPY")) refuse("not a .npy file");
    constexpr std::size_t magic_bytes = 8;
    const std::size_t length_bytes = text.size() > 6 && text[6] == 1 ? 2 : 4;
    if (text.size() < magic_bytes + length_bytes) refuse("a .npy file that is cut off");
    std::uint32_t length = 0;
    std::memcpy(&length, text.data() + magic_bytes, length_bytes);
    if (text.size() - magic_bytes - length_bytes < length) refuse("a .npy file that is cut off");
    const std::string_view header = text.substr(magic_bytes + length_bytes, length);
    if (npy_value(header, "fortran_order", file.name) != "False")
        refuse("a .npy file in Fortran's order, expected C's");
    std::string_view type = npy_value(header, "descr", file.name);
    const bool quoted = type.size() > 3 && type.front() == '\'' && type.back() == '\'';
    const std::string_view letters = quoted ? type.substr(1, type.size() - 2) : type;
    for (const auto& known : id_types)
        if (quoted && letters.substr(1) == known.numpy && (letters[0] == '<' || letters[0] == '|')) {
            const auto shape = npy_shape(npy_value(header, "shape", file.name), file.name);
            return from_ids(text.substr(magic_bytes + length_bytes + length), known, shape, file.name, experts);
        }
    refuse(concat("a .npy file of type ", type, ", expected integers, little-endian"));
    return {};
}

}  // namespace expar
