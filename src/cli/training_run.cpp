#include "training_run.hpp"

#include <algorithm>
#include <array>
#include <iostream>
#include <nlohmann/json.hpp>

#include "config_file.hpp"
#include "expar/comm/topology.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/checkpoint_folder.hpp"
#include "expar/store/partial_file.hpp"
#include "memory_need.hpp"
#include "model_files.hpp"
#include "process_memory.hpp"
#include "progress.hpp"
#include "stop_request.hpp"

namespace expar::cli {
namespace {

using Json = nlohmann::ordered_json;

// The held-out part of the prepared folders among the texts; a plain file has none.
std::optional<Corpus> held_out_of(const RunOptions& options, const Communicator& world) {
    std::string folders;
    std::error_code ignored;
    if (world.rank() == 0 && options.validate)
        for (const auto& path : options.text)
            if (std::filesystem::is_directory(std::filesystem::path(path) / "validation", ignored))
                folders += path + '\n';
    folders = world.broadcast(folders, 0, {"validation"});
    std::vector<std::string> paths;
    for (std::size_t begin = 0; begin < folders.size(); begin = folders.find('\n', begin) + 1)
        paths.push_back(folders.substr(begin, folders.find('\n', begin) - begin));
    if (paths.empty()) return std::nullopt;
    return load_corpus(paths, Split::validation, 2, world);
}

// The stored names are as the user wrote them, perhaps from another folder.
Corpus load_text(const RunConfig& config, const ResumePoint* from, const Communicator& world) {
    try {
        return load_corpus(config.run.text, Split::train, config.train.sequence + 1, world);
    } catch (const UserError& error) {
        if (!from || config.run.text != from->stored.run.text) throw;
        throw UserError(concat(error.what(), "; --text says where it is now"));
    }
}

EarlierSteps earlier_steps(const ResumePoint* from) {
    if (!from) return {};
    const CheckpointHeader& header = from->checkpoint.header();
    return {header.step, header.tokens, header.seconds};
}

std::string mebibytes(std::int64_t bytes) {
    return concat(with_commas((bytes + (1 << 20) - 1) >> 20), " MiB");
}

std::int64_t largest_over_ranks(std::int64_t bytes, const Communicator& world) {
    double largest = double(bytes);  // exact: no process has 2^53
    world.max(std::span(&largest, 1), {"memory"});
    return std::int64_t(largest);
}

int ranks_of_fullest_node(const Topology& machine) {
    int ranks = 0;
    for (int node = 0; node < machine.nodes(); ++node) ranks = std::max(ranks, int(machine.ranks_of(node).size()));
    return ranks;
}

}  // namespace

TrainingRun::TrainingRun(RunConfig config, const ResumePoint* from, const Communicator& world, RankStatus& status)
    : config_(std::move(config)),
      world_(world),
      status_(status),
      root_(world.rank() == 0),
      corpus_(load_text(config_, from, world)),
      text_hash_(corpus_.hash()),
      held_out_(held_out_of(config_.run, world)),
      isa_(choose_instruction_set(config_.train.isa, world)),
      device_(make_compute_device({config_.train.threads, std::string(name_of(isa_))}, world)) {
    if (from) expect_same_text(from->checkpoint.header());
    judge_on_root(world_, [&] {  // before anything is made or changed
        if (!config_.run.prometheus.empty()) expect_writable(config_.run.prometheus);
    });
    folder_ = from ? from->folder : create_run_folder(config_.run.out, world_);
    open_status();
    announce(from);
    make_trainer(from);
    trainer_->clock().listen(
        [this](std::string_view phase, int layer) { status_.enter(phase.empty() ? "between phases" : phase, layer); });
    if (from) {
        from->checkpoint.load(blocks_of(*trainer_));
        saved_step_ = from->checkpoint.header().step;
        trainer_->set_steps_done(saved_step_);
        judge_on_root(world_, [&] {
            set_aside_newer(folder_, saved_step_);
            std::error_code ignored;  // it tells of the stretch before, and might pass for that of this one
            std::filesystem::remove(folder_.summary(), ignored);
        });
    }
    judge_on_root(world_, [&] { replace_file(folder_.config(), to_toml(config_)); });
    record_.emplace(config_, folder_, earlier_steps(from), trainer_->clock(), world_);
}

void TrainingRun::expect_same_text(const CheckpointHeader& header) const {
    if (corpus_.bytes() != header.text_bytes || text_hash_ != header.text_hash)
        throw UserError(concat("text: ", corpus_.bytes(), " bytes, which are not the ", header.text_bytes,
                               " that this run was trained on"));
}

// A layout that gives an EP group as many ranks as before keeps its placement, unless another is asked for.
void TrainingRun::make_trainer(const ResumePoint* from) {
    const int ep = config_.train.ep == 0 ? world_.size() : config_.train.ep;
    if (from && from->checkpoint.header().ep == ep && from->stored.train.placement == config_.train.placement)
        trainer_.emplace(config_.model, config_.train, from->checkpoint.header().placement, *device_, world_);
    else
        trainer_.emplace(config_.model, config_.train, *device_, world_);
}

void expect_memory(const RunConfig& config, const Communicator& world) {
    const int ranks = ranks_of_fullest_node(discover_topology(world));
    const InstructionSet set = choose_instruction_set(config.train.isa, world);
    judge_on_root(world, [&] {
        const std::int64_t need = predict_memory(config.model, config.train, world.size(), set).total_bytes();
        const std::int64_t present = memory_limit_bytes();
        if (present > 0 && need > present / ranks)
            throw UserError(concat("memory: a rank needs about ", mebibytes(need), ", and the ", ranks,
                                   " ranks of a node share ", mebibytes(present)));
    });
}

// Without it a run goes on: it only cannot say so well how it ended.
void TrainingRun::open_status() {
    judge_on_root(world_, [&] { clear_statuses(folder_.status()); });
    std::array without{status_.open(folder_.status(), world_.rank(), world_.size()) ? 0 : 1};
    world_.sum(without, {"status files"});
    if (root_ && without[0] > 0)
        std::cout << "warning: " << without[0] << " ranks cannot write " << folder_.status().string() << std::endl;
}

// Before anything large is allocated.
void TrainingRun::announce(const ResumePoint* from) {
    const TrainOptions& options = config_.train;
    const Topology machine = discover_topology(world_);
    const int nodes =
        options.ranks_per_node > 0 ? topology_of(world_.size(), options.ranks_per_node).nodes() : machine.nodes();
    const MemoryNeed memory = predict_memory(config_.model, options, world_.size(), isa_);
    const std::int64_t present = largest_over_ranks(resident_bytes(), world_);
    memory_predicted_bytes_ =
        std::max(present + memory.total_bytes(), largest_over_ranks(peak_resident_bytes(), world_));
    if (!root_) return;
    const auto parameters = count_parameters(config_.model);
    const Layout layout(world_.size(), options.ep == 0 ? world_.size() : options.ep);
    std::string domains;
    for (const auto& domain : corpus_.domains()) domains += (domains.empty() ? "" : ", ") + domain.name;
    std::cout << "model   " << with_commas(parameters.total) << " parameters, " << with_commas(parameters.active)
              << " of them active for a token\n"
              << "layout  ranks " << world_.size() << ", nodes " << nodes << ", " << layout.describe() << "\n"
              << "compute " << describe_compute(row_dtype(options.dtype), isa_) << ", " << options.threads
              << " threads a rank\n"
              << "memory  about " << mebibytes(memory_predicted_bytes_)
              << " a rank: " << mebibytes(memory.parameters_bytes)
              << " parameters, gradients, moments and packed copies, " << mebibytes(memory.activations_bytes)
              << " activations, " << mebibytes(memory.exchange_bytes) << " for others' gradients, "
              << mebibytes(present + memory.program_bytes) << " program and text\n"
              << "text    " << with_commas(corpus_.bytes()) << " bytes: " << domains << "\n"
              << "run     " << std::filesystem::absolute(folder_.root).string();
    if (from) std::cout << ", from step " << from->checkpoint.header().step;
    std::cout << std::endl;
    warn();
}

// On standard output: what is printed on the other is one line, an error.
void TrainingRun::warn() const {
    const auto& router = config_.model.router;
    if (config_.model.top_k == 1 && (router == "mixtral" || router == "gpt-oss"))
        std::cout << "warning: top_k = 1 with router " << router
                  << " makes every weight 1, so the router learns from its losses only; 'switch' keeps the probability"
                  << std::endl;
}

void TrainingRun::save() {
    const int step = trainer_->steps_done();
    if (step == saved_step_) return;
    record_->flush();
    const Span span(&trainer_->clock(), Phase::checkpoint);
    const CheckpointHeader header{.config = to_toml(config_),
                                  .step = step,
                                  .seed = config_.train.seed,
                                  .tokens = record_->tokens(),
                                  .seconds = record_->seconds(),
                                  .text_bytes = corpus_.bytes(),
                                  .text_hash = text_hash_,
                                  .ranks = world_.size(),
                                  .ep = trainer_->layout().ep(),
                                  .version = EXPAR_VERSION,
                                  .placement = trainer_->placement(),
                                  .has_moments = config_.train.optimizer == "adamw"};
    save_checkpoint(folder_.checkpoint(step), header, blocks_of(*trainer_), world_);
    saved_step_ = step;
    judge_on_root(world_, [&] { prune_checkpoints(folder_.checkpoints(), config_.run.keep); });
}

void TrainingRun::step() {
    const TrainOptions& options = config_.train;
    const BatchDraw draw{.seed = options.seed,
                         .step = trainer_->steps_done() + 1,
                         .sequences = options.batch,
                         .length = options.sequence};
    status_.set_step(draw.step);
    record_->begin_step(draw.step);
    const auto shares = [&] {
        const Span span(&trainer_->clock(), Phase::data);
        return draw_step(corpus_, draw, options.accumulation, world_);
    }();
    record_->end_step(trainer_->step(shares, record_->observer()));
    if (std::string note = trainer_->note(); note != note_) {
        note_ = std::move(note);
        if (world_.rank() == 0) std::cout << "warning: " << note_ << std::endl;
    }
}

bool TrainingRun::stopping() {
    if (stopped_by_.empty()) stopped_by_ = agreed_stop(world_);
    return !stopped_by_.empty();
}

void TrainingRun::train() {
    const TrainOptions& options = config_.train;
    if (options.checkpoint_every > 0) save();
    while (trainer_->steps_done() < options.steps && !stopping()) {
        step();
        if (options.checkpoint_every > 0 && trainer_->steps_done() % options.checkpoint_every == 0) save();
    }
    save();
    record_->finish();
}

std::vector<TextLoss> TrainingRun::validate() {
    if (!held_out_ || !stopped_by_.empty()) return {};
    // A window of one byte predicts nothing.
    const EvaluationPlan plan{.sequence = std::max(2, config_.train.sequence),
                              .batch = config_.train.batch,
                              .stop = [this] { return stopping(); }};
    return evaluate_text(*trainer_, *held_out_, plan, world_);
}

void TrainingRun::write_summary(const std::vector<TextLoss>& validation, std::int64_t memory_peak) {
    const auto parameters = count_parameters(config_.model);
    Json summary;
    summary["steps"] = trainer_->steps_done();
    summary["tokens"] = record_->tokens();
    summary["seconds"] = record_->seconds();
    summary["tokens_per_second"] = record_->seconds() > 0 ? double(record_->tokens()) / record_->seconds() : 0;
    summary["parameters_total"] = parameters.total;
    summary["parameters_active"] = parameters.active;
    summary["ranks"] = world_.size();
    summary["ep"] = trainer_->layout().ep();
    summary["dp"] = trainer_->layout().dp();
    summary["threads"] = config_.train.threads;
    summary["isa"] = name_of(isa_);
    summary["dtype"] = config_.train.dtype;
    summary["compute"] = describe_compute(row_dtype(config_.train.dtype), isa_);
    summary["memory_predicted_bytes"] = memory_predicted_bytes_;
    summary["memory_peak_bytes"] = memory_peak;
    summary["stopped_by"] = stopped_by_.empty() ? Json() : Json(stopped_by_);
    summary["validation"] = Json::array();
    for (const auto& domain : validation)
        summary["validation"].push_back({{"domain", domain.domain},
                                         {"bytes", domain.bytes},
                                         {"bits_per_byte", domain.bits_per_byte()},
                                         {"expert_loads", domain.expert_loads}});
    summary["files"] = Json::array();
    std::vector<std::filesystem::path> files = record_->files();
    files.insert(files.begin(), folder_.config());
    files.push_back(folder_.checkpoint(saved_step_));
    files.push_back(folder_.summary());
    for (const auto& file : files) summary["files"].push_back(std::filesystem::absolute(file).string());
    replace_file(folder_.summary(), summary.dump(2) + "\n");

    std::cout << "trained " << trainer_->steps_done() << " steps, " << with_commas(record_->tokens()) << " tokens, "
              << with_commas(record_->seconds() > 0 ? std::int64_t(double(record_->tokens()) / record_->seconds()) : 0)
              << " tokens/s\n"
              << "memory  at most " << mebibytes(memory_peak) << " a rank, predicted "
              << mebibytes(memory_predicted_bytes_) << "\n";
    for (const auto& domain : validation)
        std::cout << "held-out " << domain.domain << ": " << domain.bits_per_byte() << " bits/byte of "
                  << with_commas(domain.bytes) << " bytes\n";
    for (const auto& file : summary["files"]) std::cout << "wrote   " << file.get<std::string>() << "\n";
    if (!stopped_by_.empty())
        std::cout << "saved step " << saved_step_ << "; go on with: " << resume_command(folder_.root, world_.size())
                  << "\n";
    std::cout << std::flush;
}

void TrainingRun::conclude() {
    status_.enter("validation");
    const auto validation = validate();
    status_.enter("summary");
    const std::int64_t memory_peak = largest_over_ranks(peak_resident_bytes(), world_);
    judge_on_root(world_, [&] { write_summary(validation, memory_peak); });
}

}  // namespace expar::cli
