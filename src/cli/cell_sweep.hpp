#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm_bench.hpp"
#include "expar/bench/dispatch_bench.hpp"
#include "expar/store/trace.hpp"

namespace expar::cli {

/// The flags of benchmarks that go through cells, and what they ask for: shapes, and the routing of each.
struct CellSweep {
    explicit CellSweep(CLI::App& command, double seconds_by_default);

    /// Throws UserError on every rank; reads the trace. Collective.
    void judge(const Communicator& world);
    /// In a random order, the same on all ranks.
    [[nodiscard]] std::vector<DispatchCell> cells() const;
    /// Collective.
    [[nodiscard]] std::unique_ptr<Workload> workload_of(const DispatchCell& cell, const Communicator& world) const;
    [[nodiscard]] NodeLink node_link() const { return {link, link_gbit * 1e9 / 8}; }
    [[nodiscard]] Patience patience() const;
    /// Measures cell by cell; the exit code. Collective.
    using Bench = std::function<std::vector<BenchRow>(const DispatchCell& cell, const Workload& workload)>;
    [[nodiscard]] int run(const Bench& bench, const Topology& topology, std::span<const Column> columns,
                          const Communicator& world) const;

    CommBenchFlags flags;
    std::vector<int> tokens{512}, hidden{1024}, top_k{2}, experts{8};
    std::vector<std::string> dtypes{"bf16"}, caches{"cold"};
    std::string workload = "uniform", trace, link;
    int layer = 0;
    std::uint64_t step = 0;
    double width = 0.02, link_gbit = 0;

private:
    const CLI::Option* tokens_given_;
    RoutingTrace recorded_;
};

/// The names asked for; "all": every one that is known.
[[nodiscard]] std::vector<std::string> all_or(const std::vector<std::string>& asked, std::vector<std::string> known);

/// Adds a flag that takes a list separated by commas.
template <class Values>
CLI::Option* add_list(CLI::App& command, const std::string& flag, Values& values, const std::string& help) {
    return command.add_option(flag, values, help)->delimiter(',')->capture_default_str();
}

/// --exchange with the nodes of --ranks-per-node, unless it names some itself, so that what moves rows knows the same
/// nodes as what counts them.
[[nodiscard]] std::string exchange_on_nodes(const std::string& exchange, int ranks_per_node, const Communicator& world);

/// --dispatcher, and which of those asked for can run there: says so on rank 0 when one is left out. Throws UserError
/// on every rank for an unknown one.
void add_dispatchers(CLI::App& command, std::vector<std::string>& names);
[[nodiscard]] std::vector<std::string> dispatchers_for(const std::vector<std::string>& asked, const Topology& topology,
                                                       const Communicator& world);

}  // namespace expar::cli
