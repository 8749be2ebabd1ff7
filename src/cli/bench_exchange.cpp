#include <iostream>

#include "bench.hpp"
#include "cell_sweep.hpp"
#include "expar/base/names.hpp"
#include "expar/bench/exchange_bench.hpp"

namespace expar::cli {
namespace {

struct ExchangeCommand {
    explicit ExchangeCommand(CLI::App& command) : sweep(command, 2) {}

    CellSweep sweep;
    std::vector<std::string> exchanges{"all"};
};

std::vector<std::string> exchanges_for(const ExchangeCommand& command, const Topology& topology,
                                       const Communicator& world) {
    std::vector<std::string> names;
    bool left_out = false;
    for (const std::string& name : all_or(command.exchanges, exchange_names())) {
        const std::string kind = parse_exchange(name, world.size()).kind;
        const bool one_node = entry_named(exchange_kinds, "exchange", kind).shares_memory;
        if (one_node && topology.nodes() > 1)
            left_out = true;
        else
            names.push_back(name);
    }
    if (left_out && world.rank() == 0) std::cerr << "window needs all ranks on one node and is left out\n";
    return names;
}

int run_exchange(ExchangeCommand& command, const Communicator& world) {
    CellSweep& sweep = command.sweep;
    sweep.judge(world);
    const Topology topology = sweep.flags.topology(world);
    const ExchangeBenchOptions options{.exchanges = exchanges_for(command, topology, world),
                                       .topology = topology,
                                       .link = sweep.node_link(),
                                       .seed = sweep.flags.seed,
                                       .step = sweep.step,
                                       .patience = sweep.patience()};
    const auto bench = [&](const DispatchCell& cell, const Workload& workload) {
        return bench_exchange(cell, workload, options, world);
    };
    return sweep.run(bench, topology, dispatch_columns(), world);
}

}  // namespace

Runner add_bench_exchange(CLI::App& command) {
    const auto asked = std::make_shared<ExchangeCommand>(command);
    std::string exchanges;
    for (const std::string& name : exchange_names()) exchanges += concat(name, ", ");
    add_list(command, "--exchange", asked->exchanges, concat("with options or without: ", exchanges, "all"));
    return [asked](const Communicator& world) { return run_exchange(*asked, world); };
}

}  // namespace expar::cli
