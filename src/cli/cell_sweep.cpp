#include "cell_sweep.hpp"

#include <algorithm>
#include <iostream>

#include "expar/base/names.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/bench/trace_workload.hpp"
#include "expar/comm/exchange.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {
namespace {

std::string text_of(const DispatchCell& cell) {
    return concat("tokens ", cell.tokens, " hidden ", cell.hidden, " k ", cell.top_k, " experts ", cell.experts, " ",
                  cell.dtype, cell.warm ? " warm" : " cold");
}

}  // namespace

CellSweep::CellSweep(CLI::App& command, double seconds_by_default) : flags(command, seconds_by_default) {
    std::string workloads;
    for (const WorkloadKind& kind : workload_kinds()) workloads += concat(workloads.empty() ? "" : ", ", kind.form);
    tokens_given_ = add_list(command, "--tokens", tokens, "of a rank, in the mean; a trace: all that it has");
    add_list(command, "--hidden", hidden, "columns of a row");
    add_list(command, "--top-k", top_k, "experts that a token chooses");
    add_list(command, "--experts", experts, "over all ranks");
    add_list(command, "--dtype", dtypes, "of rows: float32, bf16");
    add_list(command, "--cache", caches, "cold: buffers in turn exceed the caches; warm: the same again");
    command.add_option("--workload", workload, workloads)->capture_default_str();
    command.add_option("--trace", trace, "replay recorded routing instead, with its experts and choices")
        ->type_name("FILE");
    command.add_option("--layer", layer, "of the trace, as the model numbers it")->capture_default_str();
    command.add_option("--step", step, "of the workload")->capture_default_str();
    command.add_option("--width", width, "a median is known when its interval is that narrow, relatively")
        ->capture_default_str();
    command.add_option("--link", link, "network interface of each node, whose own counters are read beside ours")
        ->type_name("NAME");
    command.add_option("--link-gbit", link_gbit, "what a node's link carries each way: bounds count it; 0: not")
        ->capture_default_str();
}

void CellSweep::judge(const Communicator& world) {
    flags.judge(world);
    expect_positive("--tokens", tokens);
    expect_positive("--hidden", hidden);
    expect_positive("--top-k", top_k);
    expect_positive("--experts", experts);
    for (const std::string& dtype : dtypes) static_cast<void>(row_dtype(dtype));
    for (const std::string& cache : caches)
        if (cache != "cold" && cache != "warm")
            throw UserError(concat("unknown cache '", cache, "'; known: cold, warm"));
    if (!(width > 0)) throw UserError(concat("--width: ", width, ", expected more than 0"));
    if (trace.empty()) return;
    recorded_ = read_trace(trace, world);
    experts = {recorded_.experts};
    top_k = {recorded_.top_k};
    const auto of_a_rank = int(std::max<std::int64_t>(1, recorded_.tokens() / world.size()));
    if (!tokens_given_->count()) tokens = {of_a_rank};
}

std::vector<DispatchCell> CellSweep::cells() const {
    std::vector<DispatchCell> cells;
    for (const int t : tokens)
        for (const int h : hidden)
            for (const int k : top_k)
                for (const int e : experts)
                    for (const std::string& dtype : dtypes)
                        for (const std::string& cache : caches) cells.push_back({t, h, k, e, dtype, cache == "warm"});
    std::vector<DispatchCell> shuffled;
    for (const std::size_t i : shuffled_order(cells.size(), flags.seed, 0)) shuffled.push_back(cells[i]);
    return shuffled;
}

std::unique_ptr<Workload> CellSweep::workload_of(const DispatchCell& cell, const Communicator& world) const {
    if (!trace.empty())
        return make_trace_workload(recorded_,
                                   {.layer = layer, .ranks = world.size(), .tokens = cell.tokens, .seed = flags.seed});
    return make_workload(workload, {world.size(), cell.tokens, cell.experts, cell.top_k}, flags.seed, world);
}

Patience CellSweep::patience() const {
    return {.seconds = flags.seconds, .relative_width = width, .at_most = 100000};
}

int CellSweep::run(const Bench& bench, const Topology& topology, std::span<const Column> columns,
                   const Communicator& world) const {
    const std::vector<DispatchCell> all = cells();
    for (const DispatchCell& cell : all) static_cast<void>(workload_of(cell, world));  // complaints before work
    RowOutput output(flags, topology, columns, world);
    for (std::size_t i = 0; i < all.size(); ++i) {
        output.progress(i + 1, all.size(), text_of(all[i]));
        std::vector<Cells> rows;
        for (const BenchRow& row : bench(all[i], *workload_of(all[i], world))) rows.push_back(row.cells());
        output.add(std::move(rows));
    }
    return output.finish();
}

std::vector<std::string> all_or(const std::vector<std::string>& asked, std::vector<std::string> known) {
    return std::ranges::find(asked, "all") == asked.end() ? asked : std::move(known);
}

void add_dispatchers(CLI::App& command, std::vector<std::string>& names) {
    std::string known;
    for (const std::string& name : dispatcher_names()) known += concat(name, ", ");
    add_list(command, "--dispatcher", names, concat("what moves them: ", known, "all"));
}

std::string exchange_on_nodes(const std::string& exchange, int ranks_per_node, const Communicator& world) {
    const ExchangeSpec spec = parse_exchange(exchange, world.size());
    const bool given = !spec.options.topology.node_of.empty();
    return ranks_per_node == 0 || given ? exchange : concat(exchange, ":ranks-per-node=", ranks_per_node);
}

std::vector<std::string> dispatchers_for(const std::vector<std::string>& asked, const Topology& topology,
                                         const Communicator& world) {
    std::vector<std::string> names = all_or(asked, dispatcher_names());
    for (const std::string& name : names) static_cast<void>(entry_named(dispatcher_kinds, "dispatcher", name));
    if (topology.nodes() == 1) return names;
    const auto needs_one_node = [](const std::string& name) { return name == "window"; };
    if (std::erase_if(names, needs_one_node) && world.rank() == 0)
        std::cerr << "window needs all ranks on one node and is left out\n";
    return names;
}

}  // namespace expar::cli
