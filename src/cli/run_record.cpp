#include "run_record.hpp"

#include "expar/comm/verdict.hpp"

namespace expar::cli {

RunRecord::RunRecord(const RunConfig& config, const RunFolder& folder, const EarlierSteps& earlier, PhaseClock& clock,
                     const Communicator& world)
    : world_(world), folder_(folder), clock_(clock), tokens_(earlier.tokens), seconds_(earlier.seconds) {
    judge_on_root(world_, [&] {
        metrics_.emplace(folder_.metrics(), earlier.step);
        progress_.emplace(config.train.steps, config.run.log_every);
    });
    batches_path_ = folder_.batches(earlier.step);
    if (config.run.record_batches) batches_.emplace(batches_path_, world_);
}

void RunRecord::begin_step(int step) {
    if (batches_) batches_->begin_step(step);
}

void RunRecord::end_step(const StepReport& report) {
    const Span span(&clock_, Phase::record);
    tokens_ += report.tokens;
    seconds_ += report.seconds;
    judge_on_root(world_, [&] {
        metrics_->write(report);
        progress_->show(report);
    });
}

void RunRecord::flush() {}

void RunRecord::finish() {
    if (progress_) progress_->finish();
    if (batches_) batches_->finish();
}

std::vector<std::filesystem::path> RunRecord::files() const {
    std::vector<std::filesystem::path> files = {folder_.metrics()};
    if (batches_) files.push_back(batches_path_);
    return files;
}

}  // namespace expar::cli
