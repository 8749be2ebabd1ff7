#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "evaluation.hpp"
#include "expar/comm/rank_status.hpp"
#include "expar/comm/topology.hpp"
#include "expar/train/corpus.hpp"
#include "expar/train/trainer.hpp"
#include "fields.hpp"
#include "run_folder.hpp"
#include "run_record.hpp"

namespace expar::cli {

/// One training run, from its text to its last file. Every call is collective; `world` must outlive it.
class TrainingRun {
public:
    /// `config` is settled: every option says what it stands for. Opens `status` in the run's folder.
    TrainingRun(RunConfig config, const Communicator& world, RankStatus& status);

    /// Steps and checkpoints up to config.train.steps.
    void train();
    /// Validation, the summary, and what was written.
    void conclude();

private:
    void open_status();
    void announce() const;
    void warn(const Topology& topology) const;
    void save();
    void step();
    [[nodiscard]] std::vector<TextLoss> validate();
    void write_summary(const std::vector<TextLoss>& validation);

    RunConfig config_;
    const Communicator& world_;
    RankStatus& status_;
    bool root_;
    Corpus corpus_;
    std::uint64_t text_hash_;
    std::optional<Corpus> held_out_;
    RunFolder folder_;
    std::unique_ptr<Device> device_;
    std::optional<Trainer> trainer_;
    std::optional<RunRecord> record_;
    int saved_step_ = -1;
};

/// Throws UserError on every rank when a node has less memory than its ranks need: a system that gives more than it
/// has ends the program later, without a word. Before anything large is allocated. Collective.
void expect_memory(const RunConfig& config, const Communicator& world);

}  // namespace expar::cli
