#include <iostream>
#include <memory>

#include "expar/comm/rank_status.hpp"
#include "expar/comm/verdict.hpp"
#include "flags.hpp"
#include "resume.hpp"
#include "stop_request.hpp"
#include "subcommands.hpp"
#include "training_run.hpp"

namespace expar::cli {
namespace {

// Every option with what it stands for, so that the stored configuration says what was run.
RunConfig settled(RunConfig config, int ranks) {
    config.model = config.model.resolved();
    if (config.model.vocabulary < 256)
        throw UserError(
            concat("model: vocabulary is ", config.model.vocabulary, "; text is bytes, expected at least 256"));
    config.train.validate(ranks);
    if (config.train.schedule_steps == 0) config.train.schedule_steps = config.train.steps;
    if (config.run.log_every < 1) throw UserError(concat("log_every: ", config.run.log_every, ", expected at least 1"));
    if (config.run.keep < 0) throw UserError(concat("keep: ", config.run.keep, ", expected at least 0 checkpoints"));
    if (!config.run.timeline_steps.empty()) (void)step_range(config.run.timeline_steps);
    return config;
}

int train(const RunConfig& config, const ResumePoint* from, const Communicator& program) {
    RankStatus status;  // outlives all that waits
    WaitPolicy policy = *program.policy();
    policy.timeout_seconds = config.train.timeout;
    policy.status = &status;
    const Communicator world(program.mpi(), policy);
    expect_memory(config, world);
    try {
        const TerminationNote note(status);
        TrainingRun run(config, from, world, status);
        run.train();
        run.conclude();
    } catch (const std::exception& error) {
        status.fail(error.what());
        throw;
    }
    status.leave();
    return 0;
}

int resume(const ConfigFlags& flags, const RunOptions& asked, const Communicator& program) {
    const ResumePoint from = find_resume_point(asked, program);
    const RunConfig config = settled(flags.read(program, from.stored), program.size());
    expect_same_run(from.stored, config);
    const int step = from.checkpoint.header().step;
    bool finished = false;
    judge_on_root(program, [&] { finished = is_finished(from.folder, step, config.train.steps); });
    if (program.broadcast(std::string(finished ? "yes" : ""), 0, {"resume"}).empty())
        return train(config, &from, program);
    if (program.rank() == 0)
        std::cout << from.folder.root.string() << ": step " << step << " is done, and --steps " << config.train.steps
                  << " asks for no more" << std::endl;
    return 0;
}

}  // namespace

Runner add_train(CLI::App& command) {
    const auto flags = std::make_shared<ConfigFlags>(command);  // shared: a std::function must be copyable
    return [flags](const Communicator& program) {
        const RunConfig asked = flags->read(program);
        if (asked.run.resume) return resume(*flags, asked.run, program);
        if (asked.run.from_step >= 0) throw UserError("--from-step: expected together with --resume");
        return train(settled(asked, program.size()), nullptr, program);
    };
}

}  // namespace expar::cli
