#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench.hpp"
#include "compute_device.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"
#include "run_record.hpp"

namespace expar::cli {
namespace {

constexpr double asked_percent = 1;

struct Measured {
    std::vector<double> with, without;
    std::vector<double> calls;  // of a step with the record: inside its calls, on the slowest rank
    double flush = 0;           // seconds of writing out what the steps with the record have left, for each of them
};

// A step with the record of the whole run, then one without, and so on.
Measured measure(Trainer& trainer, const RunConfig& config, const RunFolder& folder, int iterations,
                 const Communicator& world) {
    const Corpus corpus = random_text(config.train.seed);
    RunRecord record(config, folder, EarlierSteps{}, trainer.clock(), world);
    Measured measured;
    double calls = 0;
    const auto timed = [&calls](auto&& call) {
        const auto begin = std::chrono::steady_clock::now();
        call();
        calls += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    const auto one = [&](bool recorded) {
        trainer.clock().turn(recorded);
        calls = 0;
        return slowest_seconds(world, [&] {
            const BatchDraw draw{.seed = config.train.seed,
                                 .step = trainer.steps_done() + 1,
                                 .sequences = config.train.batch,
                                 .length = config.train.sequence};
            if (recorded) timed([&] { record.begin_step(draw.step); });
            const auto shares = [&] {
                const Span span(&trainer.clock(), Phase::data);
                return draw_step(corpus, draw, config.train.accumulation, world);
            }();
            const StepReport report = trainer.step(shares);
            if (recorded) timed([&] { record.end_step(report); });
        });
    };
    for (int i = -1; i < iterations; ++i) {  // the first warms up
        const double with = one(true);
        world.max(std::span(&calls, 1), {"benchmark"});
        const double in_calls = calls, without = one(false);
        if (i < 0) continue;
        measured.calls.push_back(in_calls);
        measured.with.push_back(with);
        measured.without.push_back(without);
    }
    measured.flush = slowest_seconds(world, [&] { record.flush(); }) / (iterations + 1);
    record.finish();
    return measured;
}

void report(const Measured& measured, int ranks, const std::string& json) {
    const Spread with = spread_of(measured.with), without = spread_of(measured.without);
    const auto percent_of = [&](double seconds) { return 100 * (seconds + measured.flush) / without.median; };
    const double percent = percent_of(with.median - without.median);
    const double calls_percent = percent_of(spread_of(measured.calls).median);
    std::vector<double> pairs = measured.with;
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] -= measured.without[i];
    const Interval within = median_within(pairs);
    const auto row = [](const char* what, const Spread& seconds) {
        std::printf("  %-18s %9.2f %9.2f %9.2f\n", what, 1e3 * seconds.min, 1e3 * seconds.median, 1e3 * seconds.max);
    };
    std::printf("\n%d ranks, %zu steps with the record and as many without, in turn\n\n", ranks, measured.with.size());
    std::printf("  %-18s %9s %9s %9s\n", "ms of a step", "min", "median", "max");
    row("with the record", with);
    row("without", without);
    row("in the calls", spread_of(measured.calls));
    std::printf("  %-18s %9s %9.3f\n\n", "writing out", "", 1e3 * measured.flush);
    std::printf(
        "  the record costs %.2f %% of a step by the medians (of the pairs, with 95 %% certainty: %.2f to %.2f), ",
        percent, percent_of(within.from), percent_of(within.to));
    std::printf("asked: at most %.0f %%\n", asked_percent);
    std::printf("  its calls alone take %.2f %% of a step\n", calls_percent);
    std::fflush(stdout);
    if (json.empty()) return;
    const nlohmann::ordered_json facts = {{"ranks", ranks},
                                          {"iterations", measured.with.size()},
                                          {"with_median_seconds", with.median},
                                          {"without_median_seconds", without.median},
                                          {"flush_seconds_of_a_step", measured.flush},
                                          {"percent", percent},
                                          {"calls_percent", calls_percent},
                                          {"percent_from", percent_of(within.from)},
                                          {"percent_to", percent_of(within.to)},
                                          {"asked_percent", asked_percent}};
    replace_file(json, facts.dump(2) + "\n");
}

}  // namespace

Runner add_bench_record(CLI::App& command) {
    const auto flags = std::make_shared<BenchFlags>(command, 50);
    return [flags](const Communicator& world) {
        RunConfig config = flags->read(world);
        config.train.steps = config.train.schedule_steps = 1 << 20;  // far off: no last step, no decay
        const BenchFolder folder(config.run.out, world);
        config.run.log_every = config.train.steps;
        const auto device = make_compute_device({config.train.threads, config.train.isa}, world);
        Trainer trainer(config.model, config.train, *device, world);
        const Measured measured = measure(trainer, config, RunFolder{folder.path()}, flags->iterations, world);
        judge_on_root(world, [&] { report(measured, world.size(), flags->json); });
        return 0;
    };
}

}  // namespace expar::cli
