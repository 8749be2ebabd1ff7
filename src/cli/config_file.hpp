#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "fields.hpp"

namespace expar::cli {

/// Every stored field of `config` as TOML, one key a line, in the order of the lists.
[[nodiscard]] std::string to_toml(const RunConfig& config);
/// The same of every field, stored or not.
[[nodiscard]] std::string to_full_toml(const RunConfig& config);

/// Sets the fields that `text` names. Throws UserError that starts with "source:line: " for an unknown key or a value
/// of the wrong type.
void apply_toml(std::string_view text, std::string_view source, RunConfig& config);

/// The same of a file.
void apply_config_file(const std::filesystem::path& path, RunConfig& config);

}  // namespace expar::cli
