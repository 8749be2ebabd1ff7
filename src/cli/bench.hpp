#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/statistics.hpp"
#include "expar/train/corpus.hpp"
#include "expar/train/trainer.hpp"
#include "fields.hpp"
#include "flags.hpp"
#include "subcommands.hpp"

namespace expar::cli {

/// The flags of a benchmark: those of train, and how often and where to.
struct BenchFlags {
    explicit BenchFlags(CLI::App& command, int iterations);

    /// Defaults are the quickstart's model. Collective; throws UserError on every rank.
    [[nodiscard]] RunConfig read(const Communicator& world) const;

    ConfigFlags config;
    int iterations;
    std::string json;
};

/// A folder that is made for a benchmark, and removed after it. Collective.
class BenchFolder {
public:
    /// `name` empty: expar-bench, in the current one. Throws UserError on every rank when it exists already.
    BenchFolder(const std::string& name, const Communicator& world);
    BenchFolder(const BenchFolder&) = delete;
    BenchFolder& operator=(const BenchFolder&) = delete;
    ~BenchFolder();

    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    std::filesystem::path path_;
    bool owner_;
};

/// A text of random letters.
[[nodiscard]] Corpus random_text(std::uint64_t seed);

/// All ranks begin together; the seconds of the slowest, on every rank. Collective.
[[nodiscard]] double slowest_seconds(const Communicator& world, const std::function<void()>& work);

// The benchmarks, one file each.
[[nodiscard]] Runner add_bench_checkpoint(CLI::App& command);
[[nodiscard]] Runner add_bench_record(CLI::App& command);
[[nodiscard]] Runner add_bench_reduce(CLI::App& command);
[[nodiscard]] Runner add_bench_kernels(CLI::App& command);
[[nodiscard]] Runner add_bench_dispatch(CLI::App& command);
[[nodiscard]] Runner add_bench_exchange(CLI::App& command);
[[nodiscard]] Runner add_bench_layer(CLI::App& command);
[[nodiscard]] Runner add_bench_allreduce(CLI::App& command);
[[nodiscard]] Runner add_bench_probe(CLI::App& command);
[[nodiscard]] Runner add_bench_merge(CLI::App& command);

}  // namespace expar::cli
