#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench.hpp"
#include "compute_device.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

constexpr double asked_share = 0.5;

// Of steps with overlap and of as many without.
struct Measured {
    std::vector<double> exposed, step;
};

// What the reduction kept the ranks from: its calls during backward, on the rank that spent most in them, and what was
// left after it. The ranks that are done sooner wait there for the last, which is no work of the reduction: the rank
// with the shortest stay came last.
double exposed_seconds(Trainer& trainer, const Communicator& world) {
    const ReductionSeconds seconds = trainer.take_reduction_seconds();
    std::array largest{seconds.during_backward, -seconds.after};
    world.max(largest, {"benchmark"});
    return largest[0] - largest[1];
}

// A step with overlap, one without, and so on; the first of each warms up.
std::array<Measured, 2> measure(Trainer& trainer, const TrainOptions& options, int iterations,
                                const Communicator& world) {
    const Corpus corpus = random_text(options.seed);
    std::array<Measured, 2> measured;  // off, on
    for (int i = -1; i < iterations; ++i)
        for (const bool on : {false, true}) {
            const BatchDraw draw{.seed = options.seed,
                                 .step = trainer.steps_done() + 1,
                                 .sequences = options.batch,
                                 .length = options.sequence};
            const auto shares = draw_step(corpus, draw, options.accumulation, world);
            trainer.overlap_gradients(on);
            const double step = slowest_seconds(world, [&] { static_cast<void>(trainer.step(shares)); });
            const double exposed = exposed_seconds(trainer, world);
            if (i < 0) continue;
            measured[on].exposed.push_back(exposed);
            measured[on].step.push_back(step);
        }
    return measured;
}

// Half of the steps are shorter by this or more than their neighbours without overlap. What overlap costs elsewhere in
// a step is in it, and so is the noise of everything else.
double saved_seconds(const std::vector<double>& off, const std::vector<double>& on) {
    std::vector<double> saved;
    for (std::size_t i = 0; i < on.size(); ++i) saved.push_back(off[i] - on[i]);
    return spread_of(saved).median;
}

void report(const std::array<Measured, 2>& measured, const Layout& layout, const std::string& json) {
    const auto& [off, on] = measured;
    const Spread exposed_off = spread_of(off.exposed), exposed_on = spread_of(on.exposed);
    const Spread step_off = spread_of(off.step), step_on = spread_of(on.step);
    const double hidden = 1 - exposed_on.median / exposed_off.median;
    const double saved = saved_seconds(off.step, on.step);
    std::printf("%s, %zu steps with overlap and as many without, in turn\n\n", layout.describe().c_str(),
                on.step.size());
    std::printf("  %-34s %9s %9s %9s\n", "ms of a step", "min", "median", "max");
    const auto row = [](const char* what, const Spread& seconds) {
        std::printf("  %-34s %9.2f %9.2f %9.2f\n", what, 1e3 * seconds.min, 1e3 * seconds.median, 1e3 * seconds.max);
    };
    row("spent on the reduction, without", exposed_off);
    row("with overlap", exposed_on);
    row("whole step, without", step_off);
    row("with overlap", step_on);
    std::printf("\n  backward hides %.0f %% of the reduction, asked: at least %.0f %%\n", 100 * hidden,
                100 * asked_share);
    std::printf("  overlap changes a whole step by %+.2f ms (median of neighbours), %+.0f %% of the reduction\n",
                -1e3 * saved, -100 * saved / exposed_off.median);
    std::fflush(stdout);
    if (json.empty()) return;
    const nlohmann::ordered_json facts = {{"ranks", layout.ranks()},
                                          {"ep", layout.ep()},
                                          {"dp", layout.dp()},
                                          {"iterations", on.step.size()},
                                          {"seconds_off", exposed_off.median},
                                          {"seconds_on", exposed_on.median},
                                          {"hidden_share", hidden},
                                          {"step_seconds_off", step_off.median},
                                          {"step_seconds_on", step_on.median},
                                          {"step_seconds_saved", saved},
                                          {"asked_share", asked_share}};
    replace_file(json, facts.dump(2) + "\n");
}

}  // namespace

Runner add_bench_reduce(CLI::App& command) {
    const auto flags = std::make_shared<BenchFlags>(command, 20);
    return [flags](const Communicator& world) {
        RunConfig config = flags->read(world);
        if (world.size() < 2) throw UserError("bench reduce: one rank has nothing to sum, expected at least 2");
        config.train.steps = config.train.schedule_steps = 1 << 20;  // far off: no last step, no decay
        const auto device = make_compute_device({config.train.threads, config.train.isa}, world);
        Trainer trainer(config.model, config.train, *device, world);
        const auto measured = measure(trainer, config.train, flags->iterations, world);
        judge_on_root(world, [&] { report(measured, trainer.layout(), flags->json); });
        return 0;
    };
}

}  // namespace expar::cli
