#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "expar/store/trace.hpp"

namespace expar {

/// A file that was read, and what a message calls it. Whatever a reader here finds wrong with it is a UserError of one
/// line that begins with that name.
struct NamedText {
    std::string name;
    std::string text;
};

/// What a gzip file unpacks to, also of several members; anything else as it is. More than `most_bytes` are refused.
[[nodiscard]] NamedText unpacked_gzip(NamedText file, std::size_t most_bytes);

/// Expert ids side by side in row-major order, little-endian.
struct IdLayout {
    std::string type;                 ///< u8, i8, u16, i16, u32, i32, u64, i64
    std::vector<std::int64_t> shape;  ///< [tokens, layers, k], or [tokens, k] of one layer; one of them may be -1
};
/// Layers are numbered from 0; all tokens are one document, named after the file.
[[nodiscard]] RoutingTrace import_ids(const NamedText& file, const IdLayout& layout, int experts);

/// NumPy's format: an array of that shape and of any type of integers.
[[nodiscard]] RoutingTrace import_npy(const NamedText& file, int experts);

/// Where a line of JSON has what is needed: names of fields, with a dot between an object and what is in it.
struct JsonFields {
    std::string request = "request_id";
    std::string routing = "routing";
    std::string layer = "layer_index";
    std::string experts = "expert_ids";

    /// "name=path", as a flag gives it. Throws UserError that lists the known names.
    void set(std::string_view assignment);
};
/// One token a line: {"request_id": …, "routing": [{"layer_index": …, "expert_ids": […]}, …]}. Lines without routing
/// are left out. Consecutive lines of one request are a document.
[[nodiscard]] RoutingTrace import_json_lines(const NamedText& file, const JsonFields& fields, int experts);

/// Cuts the tokens into the documents of a table: tab-separated, with a line of names, of which n_tokens and
/// token_offset must be there, and dataset, category and has_repetition may be. Together they hold every token once.
void set_documents(RoutingTrace& trace, const NamedText& table);

}  // namespace expar
