#include "run_record.hpp"

#include <iostream>

#include "expar/comm/verdict.hpp"

namespace expar::cli {

RunRecord::RunRecord(const RunConfig& config, const RunFolder& folder, const EarlierSteps& earlier, PhaseClock& clock,
                     const Communicator& world)
    : world_(world), folder_(folder), clock_(clock), tokens_(earlier.tokens), seconds_(earlier.seconds) {
    const RunOptions& run = config.run;
    judge_on_root(world_, [&] {
        metrics_.emplace(folder_.metrics(), earlier.step);
        if (!routing_layout(config.model).constants.front().second.empty()) {
            routing_.emplace(folder_.routing(), config.model, earlier.step);
            if (!routing_->notice().empty()) std::cout << "note    " << routing_->notice() << std::endl;
        }
        if (!run.prometheus.empty()) prometheus_.emplace(run.prometheus, config.model);
        progress_.emplace(config.train.steps, run.log_every);
    });
    batches_path_ = folder_.batches(earlier.step);
    if (run.record_batches) batches_.emplace(batches_path_, world_);
    if (!run.timeline_steps.empty())
        timeline_.emplace(step_range(run.timeline_steps), folder_.timeline(), config.train.ranks_per_node, clock_,
                          world_);
}

void RunRecord::begin_step(int step) {
    if (batches_) batches_->begin_step(step);
    if (timeline_) timeline_->begin_step(step);
}

void RunRecord::end_step(const StepReport& report) {
    {
        const Span span(&clock_, Phase::record);
        tokens_ += report.tokens;
        seconds_ += report.seconds;
        judge_on_root(world_, [&] {
            metrics_->write(report);
            if (routing_) routing_->add(report);
            if (prometheus_) prometheus_->show(report, tokens_);
            progress_->show(report);
        });
    }
    if (timeline_) timeline_->end_step(report.step);
}

void RunRecord::flush() {
    const Span span(&clock_, Phase::record);
    judge_on_root(world_, [&] {
        if (routing_) routing_->flush();
    });
}

void RunRecord::finish() {
    judge_on_root(world_, [&] {
        progress_->finish();
        if (routing_) routing_->close();
        if (prometheus_) prometheus_->finish();
    });
    if (batches_) batches_->finish();
    if (timeline_) timeline_->finish();
}

std::vector<std::filesystem::path> RunRecord::files() const {
    std::vector<std::filesystem::path> files = {folder_.metrics()};
    if (routing_) files.push_back(folder_.routing());
    if (batches_) files.push_back(batches_path_);
    if (timeline_ && timeline_->written()) files.push_back(folder_.timeline());
    if (prometheus_) files.emplace_back(prometheus_->path());
    return files;
}

}  // namespace expar::cli
