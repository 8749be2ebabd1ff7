#pragma once

#include <filesystem>
#include <string>

namespace expar::cli {

/// What to type to go on with the run in this folder, on as many ranks.
[[nodiscard]] std::string resume_command(const std::filesystem::path& run, int ranks);

}  // namespace expar::cli
