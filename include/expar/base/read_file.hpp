#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace expar {

/// All that a file or pipe holds. Throws UserError, naming it, when it cannot be read or has more than `most_bytes`, of
/// which no more are read: /dev/zero ends too. Local.
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::size_t most_bytes);

}  // namespace expar
