#include <algorithm>
#include <iostream>

#include "bench.hpp"
#include "comm_bench.hpp"
#include "expar/base/names.hpp"
#include "expar/bench/dispatch_bench.hpp"
#include "expar/bench/measure_together.hpp"
#include "expar/bench/trace_workload.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {
namespace {

struct DispatchCommand {
    explicit DispatchCommand(CLI::App& command) : flags(command, 3) {}

    CommBenchFlags flags;
    const CLI::Option* tokens_given = nullptr;
    std::vector<int> tokens{512}, hidden{1024}, top_k{2}, experts{8};
    std::vector<std::string> dtypes{"bf16"}, dispatchers{"packed"}, orders{"reduced"}, caches{"cold"};
    std::string exchange = "native", workload = "uniform", trace, link;
    int layer = 0;
    std::uint64_t step = 0;
    double width = 0.02, link_gbit = 0;
    bool cached_plan = false;
};

// The names asked for; "all": every one that can run here.
std::vector<std::string> chosen(const std::vector<std::string>& asked, std::vector<std::string> known) {
    return std::ranges::find(asked, "all") == asked.end() ? asked : std::move(known);
}

std::vector<std::string> dispatchers_for(const DispatchCommand& command, const Topology& topology, bool root) {
    std::vector<std::string> names = chosen(command.dispatchers, dispatcher_names());
    for (const std::string& name : names) static_cast<void>(entry_named(dispatcher_kinds, "dispatcher", name));
    if (topology.nodes() == 1) return names;
    const auto needs_one_node = [](const std::string& name) { return name == "window"; };
    if (std::erase_if(names, needs_one_node) && root)
        std::cerr << "window needs all ranks on one node and is left out\n";
    return names;
}

void judge(const DispatchCommand& command, const Communicator& world) {
    command.flags.judge(world);
    expect_positive("--tokens", command.tokens);
    expect_positive("--hidden", command.hidden);
    expect_positive("--top-k", command.top_k);
    expect_positive("--experts", command.experts);
    static_cast<void>(parse_exchange(command.exchange, world.size()));
    for (const std::string& dtype : command.dtypes) static_cast<void>(row_dtype(dtype));
    for (const std::string& order : command.orders) static_cast<void>(combine_order(order));
    for (const std::string& cache : command.caches)
        if (cache != "cold" && cache != "warm")
            throw UserError(concat("unknown cache '", cache, "'; known: cold, warm"));
    if (!(command.width > 0)) throw UserError(concat("--width: ", command.width, ", expected more than 0"));
}

std::vector<DispatchCell> cells_of(const DispatchCommand& command) {
    std::vector<DispatchCell> cells;
    for (const int tokens : command.tokens)
        for (const int hidden : command.hidden)
            for (const int top_k : command.top_k)
                for (const int experts : command.experts)
                    for (const std::string& dtype : command.dtypes)
                        for (const std::string& cache : command.caches)
                            cells.push_back({tokens, hidden, top_k, experts, dtype, cache == "warm"});
    std::vector<DispatchCell> shuffled;
    for (const std::size_t i : shuffled_order(cells.size(), command.flags.seed, 0)) shuffled.push_back(cells[i]);
    return shuffled;
}

// With the shape of the trace; as many tokens as it has where none were asked for.
DispatchCommand fitted(DispatchCommand command, const RoutingTrace& trace, const Communicator& world) {
    command.experts = {trace.experts};
    command.top_k = {trace.top_k};
    const auto of_a_rank = int(std::max<std::int64_t>(1, trace.tokens() / world.size()));
    if (!command.tokens_given->count()) command.tokens = {of_a_rank};
    return command;
}

std::string text_of(const DispatchCell& cell) {
    return concat("tokens ", cell.tokens, " hidden ", cell.hidden, " k ", cell.top_k, " experts ", cell.experts, " ",
                  cell.dtype, cell.warm ? " warm" : " cold");
}

int run_dispatch(const DispatchCommand& command, const Communicator& world) {
    judge(command, world);
    const Topology topology = command.flags.topology(world);
    const RoutingTrace trace = command.trace.empty() ? RoutingTrace{} : read_trace(command.trace, world);
    const std::vector<DispatchCell> cells = cells_of(command.trace.empty() ? command : fitted(command, trace, world));
    const auto workload_of = [&](const DispatchCell& cell) {
        if (!command.trace.empty())
            return make_trace_workload(
                trace,
                {.layer = command.layer, .ranks = world.size(), .tokens = cell.tokens, .seed = command.flags.seed});
        return make_workload(command.workload, {world.size(), cell.tokens, cell.experts, cell.top_k},
                             command.flags.seed, world);
    };
    for (const DispatchCell& cell : cells) static_cast<void>(workload_of(cell));  // complaints before work
    const DispatchBenchOptions options{
        .dispatchers = dispatchers_for(command, topology, world.rank() == 0),
        .exchange = command.exchange,
        .orders = command.orders,
        .topology = topology,
        .link = {command.link, command.link_gbit * 1e9 / 8},
        .seed = command.flags.seed,
        .step = command.step,
        .cached_plan = command.cached_plan,
        .patience = {.seconds = command.flags.seconds, .relative_width = command.width, .at_most = 100000},
        .make_device = device_maker(command.flags.isa, world)};
    RowOutput output(command.flags, topology, dispatch_columns(), world);
    for (std::size_t i = 0; i < cells.size(); ++i) {
        output.progress(i + 1, cells.size(), text_of(cells[i]));
        std::vector<Cells> rows;
        for (const BenchRow& row : bench_dispatch(cells[i], *workload_of(cells[i]), options, world))
            rows.push_back(row.cells());
        output.add(std::move(rows));
    }
    return output.finish();
}

}  // namespace

Runner add_bench_dispatch(CLI::App& command) {
    const auto asked = std::make_shared<DispatchCommand>(command);
    const auto list = [&command](const std::string& flag, auto& values, const std::string& help) {
        return command.add_option(flag, values, help)->delimiter(',')->capture_default_str();
    };
    std::string workloads, dispatchers;
    for (const WorkloadKind& kind : workload_kinds()) workloads += concat(workloads.empty() ? "" : ", ", kind.form);
    for (const std::string& name : dispatcher_names()) dispatchers += concat(name, ", ");
    asked->tokens_given = list("--tokens", asked->tokens, "of a rank, in the mean; a trace: all that it has");
    list("--hidden", asked->hidden, "columns of a row");
    list("--top-k", asked->top_k, "experts that a token chooses");
    list("--experts", asked->experts, "over all ranks");
    list("--dtype", asked->dtypes, "of rows: float32, bf16");
    list("--dispatcher", asked->dispatchers, concat("what moves them: ", dispatchers, "all"));
    list("--order", asked->orders, "of combine: exact, reduced");
    list("--cache", asked->caches, "cold: buffers in turn exceed the caches; warm: the same again");
    command.add_option("--exchange", asked->exchange, "of dispatchers that stand on one")->capture_default_str();
    command.add_option("--workload", asked->workload, workloads)->capture_default_str();
    command.add_option("--trace", asked->trace, "replay recorded routing instead, with its experts and choices")
        ->type_name("FILE");
    command.add_option("--layer", asked->layer, "of the trace, as the model numbers it")->capture_default_str();
    command.add_option("--step", asked->step, "of the workload")->capture_default_str();
    command.add_option("--width", asked->width, "a median is known when its interval is that narrow, relatively")
        ->capture_default_str();
    command
        .add_option("--link", asked->link, "network interface of each node, whose own counters are read beside ours")
        ->type_name("NAME");
    command.add_option("--link-gbit", asked->link_gbit, "what a node's link carries each way: bounds count it; 0: not")
        ->capture_default_str();
    command.add_flag("--cached-plan", asked->cached_plan, "also with a plan that is there already");
    return [asked](const Communicator& world) { return run_dispatch(*asked, world); };
}

}  // namespace expar::cli
