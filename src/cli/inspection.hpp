#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "expar/store/hdf5_file.hpp"
#include "fields.hpp"

namespace expar::cli {

// `expar inspect`: what a thing holds are facts, in the form that --json writes; what a person reads is made of these.
// Everything here is local. What is damaged is a UserError of one line that names the file.

using Json = nlohmann::ordered_json;

[[nodiscard]] Json run_facts(const std::filesystem::path& folder);
[[nodiscard]] std::string run_text(const Json& facts);

/// Of a file that agrees with its digest, which is checked first.
[[nodiscard]] Json checkpoint_facts(const std::filesystem::path& path);
[[nodiscard]] std::string checkpoint_text(const Json& facts);

/// Of routing.h5, also while it is written or after its run was killed.
[[nodiscard]] Json routing_facts(const Hdf5File& file);
[[nodiscard]] std::string routing_text(const Json& facts);

// Files of tensors that are none of the above: names, shapes, bytes.
[[nodiscard]] Json hdf5_facts(const Hdf5File& file);
[[nodiscard]] Json safetensors_facts(const std::filesystem::path& path);
[[nodiscard]] std::string tensors_text(const Json& facts);

// What the texts share.

/// Lines of columns as wide as their cells need. `sides` has an 'l' or 'r' for each column; the last counts for all
/// that follow.
[[nodiscard]] std::string table(const std::vector<std::vector<std::string>>& rows, std::string_view sides);
/// "what:", and `value` where all values of a text begin.
[[nodiscard]] std::string entry(const std::string& what, const std::string& value);
/// "3.4 MiB"
[[nodiscard]] std::string size_text(std::uint64_t bytes);
/// Three digits that count: "0.0213".
[[nodiscard]] std::string number_text(double value);
/// "0-3, 6"
[[nodiscard]] std::string ranges_text(const std::vector<int>& numbers);
/// "[3, 4]"
[[nodiscard]] std::string shape_text(const Json& shape);
/// What a file of unknown origin says, fit for a terminal.
[[nodiscard]] std::string printable(std::string text);
/// The name with '*' for every number between dots or slashes: what is alike in all layers has one.
[[nodiscard]] std::string kind_of(const std::string& name);

/// The model and how it is trained in a few words each; null for a configuration of another version.
[[nodiscard]] Json config_facts(const std::string& toml, const std::string& source);
[[nodiscard]] std::string config_text(const Json& facts);

}  // namespace expar::cli
