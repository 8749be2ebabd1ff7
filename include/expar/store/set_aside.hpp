#pragma once

#include <filesystem>

namespace expar {

/// Renames a file to its name and ".set-aside", or ".set-aside-2" and on where that is taken; what was set aside before
/// stays. Returns where it is now. Local; throws UserError.
std::filesystem::path set_aside(const std::filesystem::path& path);

}  // namespace expar
