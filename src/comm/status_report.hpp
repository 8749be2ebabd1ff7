#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "expar/comm/rank_status.hpp"

namespace expar {

[[nodiscard]] bool is_status_file(const std::filesystem::path& path);

/// "; rank 1 shows no sign of life for 2.9 s: step 4, experts, layer 2; …": what `rank` sees of the others while all
/// of them should be alive. Empty when it is alone.
[[nodiscard]] std::string describe_others(std::span<const StatusSnapshot> statuses, int rank);

}  // namespace expar
