#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "expar/store/checkpoint.hpp"
#include "fields.hpp"
#include "run_folder.hpp"

namespace expar::cli {

/// A checkpoint to go on from. It agrees with its digest; nothing of the run has been changed, but a digest
/// that lay whole beside it may have got its name.
struct ResumePoint {
    RunFolder folder;
    CheckpointReader checkpoint;
    RunConfig stored;  ///< the configuration of the run so far
};

/// The newest checkpoint of the run in `asked.out`, or that of asked.from_step. Throws UserError on every rank when
/// there is none, or when it is damaged or half-written: then it names the one before, which is taken only when asked
/// for. Collective; `world` must outlive the result.
[[nodiscard]] ResumePoint find_resume_point(const RunOptions& asked, const Communicator& world);

/// Throws UserError, naming the field and both values, where `wanted` differs from `stored` in what a resume may not
/// change.
void expect_same_run(const RunConfig& stored, const RunConfig& wanted);

/// Whether a run that stands at `step` has done all of its `steps` and said so in its summary. Local.
[[nodiscard]] bool is_finished(const RunFolder& folder, int step, int steps);

/// Renames the checkpoints that are newer than `step`, so that no later resume takes them for the newest. Local.
void set_aside_newer(const RunFolder& folder, int step);

/// What to type to go on with the run in this folder, on as many ranks.
[[nodiscard]] std::string resume_command(const std::filesystem::path& run, int ranks);

}  // namespace expar::cli
