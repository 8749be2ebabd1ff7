#pragma once

#include <filesystem>
#include <string>

#include "expar/comm/communicator.hpp"

namespace expar::cli {

/// Where the files of a run lie.
struct RunFolder {
    std::filesystem::path root;

    [[nodiscard]] std::filesystem::path config() const { return root / "config.toml"; }
    [[nodiscard]] std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
    [[nodiscard]] std::filesystem::path routing() const { return root / "routing.h5"; }
    [[nodiscard]] std::filesystem::path timeline() const { return root / "timeline.json"; }
    [[nodiscard]] std::filesystem::path summary() const { return root / "summary.json"; }
    /// batches.h5; when the run goes on after step 40, batches-from-000041.h5
    [[nodiscard]] std::filesystem::path batches(int earlier_steps = 0) const;
    [[nodiscard]] std::filesystem::path checkpoints() const { return root / "checkpoints"; }
    [[nodiscard]] std::filesystem::path status() const { return root / "status"; }  ///< what each rank did last
    [[nodiscard]] std::filesystem::path checkpoint(int step) const;                 ///< checkpoints/step-000050.h5
};

/// The folder of that name, slashes at its end left out; nothing is looked at.
[[nodiscard]] RunFolder run_folder_named(std::string name);

/// A new folder of that name, "runs/<date>-<time>" when it is empty. Made by rank 0; collective. Throws UserError on
/// every rank when it exists already.
[[nodiscard]] RunFolder create_run_folder(const std::string& name, const Communicator& world);

/// The checkpoint that `run` names: a file, or the last one of a run's folder. Local; throws UserError.
[[nodiscard]] std::filesystem::path find_checkpoint(const std::filesystem::path& run);

}  // namespace expar::cli
