#include <memory>

#include "expar/comm/rank_status.hpp"
#include "flags.hpp"
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
    return config;
}

}  // namespace

Runner add_train(CLI::App& command) {
    const auto flags = std::make_shared<ConfigFlags>(command);  // shared: a std::function must be copyable
    return [flags](const Communicator& program) {
        const RunConfig config = settled(flags->read(program), program.size());
        RankStatus status;  // outlives all that waits
        WaitPolicy policy = *program.policy();
        policy.timeout_seconds = config.train.timeout;
        policy.status = &status;
        const Communicator world(program.mpi(), policy);
        expect_memory(config, world);
        try {
            TrainingRun run(config, world, status);
            run.train();
            run.conclude();
        } catch (const std::exception& error) {
            status.fail(error.what());
            throw;
        }
        status.leave();
        return 0;
    };
}

}  // namespace expar::cli
