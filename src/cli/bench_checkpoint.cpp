#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "bench.hpp"
#include "compute_device.hpp"
#include "config_file.hpp"
#include "expar/base/error.hpp"
#include "expar/base/random.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/digest.hpp"
#include "expar/store/partial_file.hpp"
#include "model_files.hpp"

extern char** environ;

namespace expar::cli {
namespace {

namespace fs = std::filesystem;

constexpr double asked_ratio = 1.5;

// Numbers that no disk can make shorter; the same on all holders of a block.
void fill_moments(std::span<const StoredBlock> blocks, std::uint64_t seed) {
    std::uint32_t number = 0;
    for (const auto& block : blocks) {
        const RandomField field(seed, Purpose::test, number++);
        for (const Rows& rows : {block.moment1, block.moment2}) {
            if (rows.data() == nullptr) continue;
            const auto values = rows.row<float>(0);
            for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(field.uniform(i));
        }
    }
}

void expect_equal(std::span<const StoredBlock> saved, std::span<const StoredBlock> loaded) {
    for (std::size_t i = 0; i < saved.size(); ++i) {
        if (!saved[i].is_here()) continue;
        for (const Quantity quantity : all_quantities) {
            const ConstRows before = saved[i].rows(quantity), after = loaded[i].rows(quantity);
            if (before.data() == nullptr) continue;
            const auto a = before.row<float>(0), b = after.row<float>(0);
            if (std::memcmp(a.data(), b.data(), a.size_bytes()) != 0)
                throw UserError(concat("bench: ", saved[i].spec.name(), " is not loaded as it was saved"));
        }
    }
}

// What dd itself says it took, its fsync included; starting the program is not.
double seconds_of_dd(const fs::path& file, std::uint64_t bytes) {
    const fs::path log = file.string() + ".log";
    std::string words[] = {"env",
                           "LC_ALL=C",
                           "dd",
                           "if=/dev/zero",
                           concat("of=", file.string()),
                           "bs=1M",
                           concat("count=", bytes),
                           "iflag=count_bytes",
                           "conv=fsync"};
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    pid_t process = 0;
    const int failed = posix_spawnp(&process, "env", &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    int status = -1;
    if (failed == 0) waitpid(process, &status, 0);

    std::ostringstream said;
    said << std::ifstream(log).rdbuf();
    const std::string text = said.str();
    const std::size_t place = text.find("copied, ");
    if (status != 0 || place == std::string::npos)
        throw UserError(concat("dd: failed: ", text.substr(0, text.find('\n'))));
    return std::strtod(text.c_str() + place + std::strlen("copied, "), nullptr);
}

struct Measured {
    std::uint64_t bytes = 0;  // of the checkpoint and its digest
    std::vector<double> save, dd;
};

Measured measure(Trainer& trainer, const RunConfig& config, const fs::path& folder, int iterations,
                 const Communicator& world) {
    const CheckpointHeader header{.config = to_toml(config),
                                  .seed = config.train.seed,
                                  .ranks = world.size(),
                                  .ep = trainer.layout().ep(),
                                  .version = EXPAR_VERSION,
                                  .placement = trainer.placement(),
                                  .has_moments = config.train.optimizer == "adamw"};
    const auto blocks = blocks_of(trainer);
    fill_moments(blocks, config.train.seed);
    const fs::path path = folder / "checkpoint.h5", zeros = folder / "zeros";
    Measured measured;
    for (int i = -1; i < iterations; ++i) {  // the first warms up
        judge_on_root(world, [&] {
            std::error_code ignored;
            for (const auto& file : {digest_path(path), path, zeros}) fs::remove(file, ignored);
        });
        const double seconds = slowest_seconds(world, [&] { save_checkpoint(path, header, blocks, world); });
        if (i >= 0) measured.save.push_back(seconds);
        judge_on_root(world, [&] {
            measured.bytes = fs::file_size(path) + fs::file_size(digest_path(path));
            const double dd = seconds_of_dd(zeros, measured.bytes);
            if (i >= 0) measured.dd.push_back(dd);
        });
    }
    TrainOptions others = config.train;
    ++others.seed;
    Trainer again(config.model, others, trainer.transformer().device(), world);
    const CheckpointReader reader(path, world);
    const auto loaded = blocks_of(again);
    reader.load(loaded);
    judge_everywhere(world, [&] { expect_equal(blocks, loaded); });
    return measured;
}

void print_row(const char* what, const Spread& seconds, std::uint64_t bytes) {
    std::printf("  %-12s %9.1f %9.1f %9.1f %11.0f\n", what, 1e3 * seconds.min, 1e3 * seconds.median, 1e3 * seconds.max,
                double(bytes) / seconds.median / (1 << 20));
}

void report(const Measured& measured, int ranks, const std::string& json) {
    const Spread save = spread_of(measured.save), dd = spread_of(measured.dd);
    const double ratio = save.median / dd.median;
    std::vector<double> pairs = measured.save;
    for (std::size_t i = 0; i < pairs.size(); ++i) pairs[i] /= measured.dd[i];
    const Interval within = median_within(pairs);
    std::printf("%.1f MiB with its digest, %d ranks, %zu times each, in turn; loaded back bit for bit\n\n",
                double(measured.bytes) / (1 << 20), ranks, measured.save.size());
    std::printf("  %-12s %9s %9s %9s %11s\n", "ms", "min", "median", "max", "MiB/s");
    print_row("checkpoint", save, measured.bytes);
    print_row("dd, fsync", dd, measured.bytes);
    std::printf(
        "\n  ratio of the medians %.2f (of the pairs, with 95 %% certainty: %.2f to %.2f), asked: at most %.1f\n",
        ratio, within.from, within.to, asked_ratio);
    std::fflush(stdout);
    if (json.empty()) return;
    const auto row = [](const Spread& spread) {
        return nlohmann::ordered_json{
            {"min_seconds", spread.min}, {"median_seconds", spread.median}, {"max_seconds", spread.max}};
    };
    const nlohmann::ordered_json facts = {
        {"bytes", measured.bytes},   {"ranks", ranks},        {"iterations", measured.save.size()},
        {"checkpoint", row(save)},   {"dd", row(dd)},         {"ratio", ratio},
        {"ratio_from", within.from}, {"ratio_to", within.to}, {"asked_ratio", asked_ratio}};
    replace_file(json, facts.dump(2) + "\n");
}

}  // namespace

Runner add_bench_checkpoint(CLI::App& command) {
    const auto flags = std::make_shared<BenchFlags>(command, 9);
    return [flags](const Communicator& world) {
        const RunConfig config = flags->read(world);
        const BenchFolder folder(config.run.out, world);
        const auto device = make_compute_device({config.train.threads, config.train.isa}, world);
        Trainer trainer(config.model, config.train, *device, world);
        const Measured measured = measure(trainer, config, folder.path(), flags->iterations, world);
        judge_on_root(world, [&] { report(measured, world.size(), flags->json); });
        return 0;
    };
}

}  // namespace expar::cli
