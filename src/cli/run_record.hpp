#pragma once

#include <filesystem>
#include <optional>
#include <vector>

#include "batch_recorder.hpp"
#include "fields.hpp"
#include "metrics_file.hpp"
#include "progress.hpp"
#include "prometheus_file.hpp"
#include "routing_file.hpp"
#include "run_folder.hpp"
#include "timeline_recorder.hpp"

namespace expar::cli {

/// What the steps before this run came to, when it goes on from a checkpoint.
struct EarlierSteps {
    int step = 0;             ///< the last of them
    std::int64_t tokens = 0;  ///< of all of them
    double seconds = 0;       ///< of all of them, of the slowest rank
};

/// What a run writes down of its steps, and what the user watches meanwhile. Every call but observer() and the getters
/// is collective; rank 0 writes.
class RunRecord {
public:
    /// What the files hold of steps behind the earlier ones is cut off. `clock` is the trainer's and must outlive this.
    RunRecord(const RunConfig& config, const RunFolder& folder, const EarlierSteps& earlier, PhaseClock& clock,
              const Communicator& world);

    /// Before its batch is drawn.
    void begin_step(int step);
    /// What the trainer is to tell during a step; null when nothing more is asked for.
    [[nodiscard]] StepObserver* observer() { return batches_ ? &*batches_ : nullptr; }
    void end_step(const StepReport& report);
    /// Before a checkpoint, so that the files reach as far as it does.
    void flush();
    void finish();

    [[nodiscard]] std::int64_t tokens() const { return tokens_; }  ///< of all steps, the earlier ones too
    [[nodiscard]] double seconds() const { return seconds_; }      ///< likewise, of the slowest rank
    [[nodiscard]] std::vector<std::filesystem::path> files() const;

private:
    const Communicator& world_;
    RunFolder folder_;
    std::filesystem::path batches_path_;
    PhaseClock& clock_;
    std::optional<MetricsFile> metrics_;        // on rank 0
    std::optional<RoutingFile> routing_;        // on rank 0, of a model with experts
    std::optional<Progress> progress_;          // on rank 0
    std::optional<PrometheusFile> prometheus_;  // on rank 0, when asked for
    std::optional<BatchRecorder> batches_;      // when asked for
    std::optional<TimelineRecorder> timeline_;  // when asked for
    std::int64_t tokens_;
    double seconds_;
};

}  // namespace expar::cli
