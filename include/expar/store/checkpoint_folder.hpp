#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace expar {

/// What stands for a step in names of files and groups: "step-000050".
[[nodiscard]] std::string step_name(int step);

/// FOLDER/step-000050.h5
[[nodiscard]] std::filesystem::path checkpoint_path(const std::filesystem::path& folder, int step);

/// A file of a folder of checkpoints.
struct ListedCheckpoint {
    int step = 0;
    std::filesystem::path path;
    bool has_digest = false;  ///< without one it was never completed
};

/// By step, ascending; empty when there is no such folder. Local; throws UserError when it cannot be listed.
[[nodiscard]] std::vector<ListedCheckpoint> list_checkpoints(const std::filesystem::path& folder);

/// Gives the files their names where a save was ended in its last steps: its digest lay whole beside it, so both are on
/// disk. A checkpoint that has a digest stays as it is. Local, while nobody saves; throws UserError.
void finish_interrupted_saves(const std::filesystem::path& folder);

/// Keeps the newest `keep` complete checkpoints and what is newer than the oldest of these, removes what is older; 0
/// keeps all. Removes what an interrupted save left behind. Local, while nobody saves; throws UserError.
void prune_checkpoints(const std::filesystem::path& folder, int keep);

}  // namespace expar
