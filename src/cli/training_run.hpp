#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "compute_device.hpp"
#include "evaluation.hpp"
#include "expar/comm/rank_status.hpp"
#include "expar/train/corpus.hpp"
#include "expar/train/trainer.hpp"
#include "fields.hpp"
#include "resume.hpp"
#include "run_folder.hpp"
#include "run_record.hpp"

namespace expar::cli {

/// One training run, from its text to its last file. Every call is collective; `world` must outlive it.
class TrainingRun {
public:
    /// `config` is settled: every option says what it stands for. A new run, or one that goes on `from` a checkpoint,
    /// of which nothing but the ranks' status is changed before all of it is loaded. Opens `status` in the run's
    /// folder.
    TrainingRun(RunConfig config, const ResumePoint* from, const Communicator& world, RankStatus& status);

    /// Steps and checkpoints up to config.train.steps, or until a signal asks for the end; the last step is saved.
    void train();
    /// Validation, the summary, and what was written.
    void conclude();

private:
    void expect_same_text(const CheckpointHeader& header) const;
    void make_trainer(const ResumePoint* from);
    void announce(const ResumePoint* from);
    void open_status();
    void warn() const;
    void save();
    void step();
    [[nodiscard]] bool stopping();  ///< collective
    [[nodiscard]] std::vector<TextLoss> validate();
    void write_summary(const std::vector<TextLoss>& validation, std::int64_t memory_peak);

    RunConfig config_;
    const Communicator& world_;
    RankStatus& status_;
    bool root_;
    Corpus corpus_;
    std::uint64_t text_hash_;
    std::optional<Corpus> held_out_;
    RunFolder folder_;
    InstructionSet isa_;
    std::unique_ptr<Device> device_;
    std::optional<Trainer> trainer_;
    std::optional<RunRecord> record_;
    std::int64_t memory_predicted_bytes_ = 0;  // of the rank that will have most
    int saved_step_ = -1;
    std::string note_{};      ///< that was printed last
    std::string stopped_by_;  ///< a signal's name; empty: none so far
};

/// Throws UserError on every rank when a node has less memory than its ranks need: a system that gives more than it
/// has ends the program later, without a word. Before anything large is allocated. Collective.
void expect_memory(const RunConfig& config, const Communicator& world);

}  // namespace expar::cli
