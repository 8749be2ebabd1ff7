#include "bench.hpp"

#include <utility>

#include "expar/base/error.hpp"
#include "expar/base/random.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {

namespace fs = std::filesystem;

BenchFlags::BenchFlags(CLI::App& command, int iterations_by_default)
    : config(command), iterations(iterations_by_default) {
    command.add_option("--iterations", iterations, "how often each is measured")->capture_default_str();
    command.add_option("--json", json, "write the result there")->type_name("FILE");
}

RunConfig BenchFlags::read(const Communicator& world) const {
    RunConfig quickstart;
    quickstart.model.hidden = 128;
    quickstart.model.heads = 4;
    quickstart.model.intermediate = 256;
    quickstart.train.sequence = 256;
    quickstart.train.batch = 16;
    if (iterations < 1) throw UserError(concat("--iterations: ", iterations, ", expected at least 1"));
    judge_on_root(world, [&] {
        if (!json.empty()) expect_writable(json);
    });
    RunConfig asked = config.read(world, quickstart);
    asked.model = asked.model.resolved();
    asked.train.validate(world.size());
    return asked;
}

BenchFolder::BenchFolder(const std::string& name, const Communicator& world)
    : path_(name.empty() ? "expar-bench" : name), owner_(world.rank() == 0) {
    judge_on_root(world, [&] {
        std::error_code failed;
        if (!fs::create_directories(path_, failed) || failed)
            throw UserError(concat(path_.string(), failed ? ": cannot be made: " + failed.message()
                                                          : ": exists already, expected a folder to be made"));
    });
}

BenchFolder::~BenchFolder() {
    std::error_code ignored;
    if (owner_) fs::remove_all(path_, ignored);
}

Corpus random_text(std::uint64_t seed) {
    constexpr std::size_t text_bytes = std::size_t{1} << 20;
    const RandomField field(seed, Purpose::test);
    std::string text(text_bytes, ' ');
    for (std::size_t i = 0; i < text.size(); ++i) text[i] = char('a' + field.below(26, i));
    std::vector<Corpus::Domain> domains = {{"random", std::move(text), true}};
    return Corpus(std::move(domains));
}

double slowest_seconds(const Communicator& world, const std::function<void()>& work) {
    world.barrier({"benchmark"});
    double seconds = seconds_of(work);
    world.max(std::span(&seconds, 1), {"benchmark"});
    return seconds;
}

Runner add_bench(CLI::App& command) {
    command.require_subcommand(1);
    auto& checkpoint = *command.add_subcommand("checkpoint", "time saving a checkpoint beside dd of as many bytes");
    auto& record = *command.add_subcommand("record", "time steps with and without the record of a run");
    auto& reduce =
        *command.add_subcommand("reduce", "time what the sum of gradients adds to a step, with and without overlap");
    auto& kernels = *command.add_subcommand("kernels", "time every kernel of a step beside what the machine allows");
    auto& dispatch = *command.add_subcommand("dispatch", "time dispatch and combine beside what memory allows");
    auto& exchange = *command.add_subcommand("exchange", "time the exchanges of a dispatch beside what memory allows");
    auto& layer = *command.add_subcommand("layer", "time MoE layers as training runs them, forward and backward");
    auto& allreduce = *command.add_subcommand("allreduce", "time sums over all ranks beside what memory allows");
    auto& probe = *command.add_subcommand("probe", "measure what memory and MPI give all ranks at once");
    auto& merge = *command.add_subcommand("merge", "join the rows of several launches");
    const std::pair<CLI::App*, Runner> runners[] = {{&checkpoint, add_bench_checkpoint(checkpoint)},
                                                    {&record, add_bench_record(record)},
                                                    {&reduce, add_bench_reduce(reduce)},
                                                    {&kernels, add_bench_kernels(kernels)},
                                                    {&dispatch, add_bench_dispatch(dispatch)},
                                                    {&exchange, add_bench_exchange(exchange)},
                                                    {&layer, add_bench_layer(layer)},
                                                    {&allreduce, add_bench_allreduce(allreduce)},
                                                    {&probe, add_bench_probe(probe)},
                                                    {&merge, add_bench_merge(merge)}};
    return [runners = std::vector(std::begin(runners), std::end(runners))](const Communicator& world) {
        for (const auto& [chosen, run] : runners)
            if (chosen->parsed()) return run(world);
        return 2;  // CLI11 has asked for one
    };
}

}  // namespace expar::cli
