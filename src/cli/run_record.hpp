#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "batch_recorder.hpp"
#include "fields.hpp"
#include "progress.hpp"
#include "run_folder.hpp"

namespace expar::cli {

/// What a run writes down of its steps, and what the user watches meanwhile. Every call but observer() and the getters
/// is collective; rank 0 writes.
class RunRecord {
public:
    RunRecord(const RunConfig& config, const RunFolder& folder, const Communicator& world);

    void begin_step(int step);
    /// What the trainer is to tell during a step; null when nothing more is asked for.
    [[nodiscard]] StepObserver* observer() { return batches_ ? &*batches_ : nullptr; }
    void end_step(const StepReport& report);
    void finish();

    [[nodiscard]] std::int64_t tokens() const { return tokens_; }  ///< of all steps
    [[nodiscard]] double seconds() const { return seconds_; }      ///< of all steps, of the slowest rank
    [[nodiscard]] std::vector<std::filesystem::path> files() const;

private:
    const Communicator& world_;
    RunFolder folder_;
    std::optional<MetricsFile> metrics_;    // on rank 0
    std::optional<Progress> progress_;      // on rank 0
    std::optional<BatchRecorder> batches_;  // when asked for
    std::int64_t tokens_ = 0;
    double seconds_ = 0;
};

}  // namespace expar::cli
