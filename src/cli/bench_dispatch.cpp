#include <algorithm>
#include <iostream>

#include "bench.hpp"
#include "cell_sweep.hpp"
#include "expar/base/names.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {
namespace {

struct DispatchCommand {
    explicit DispatchCommand(CLI::App& command) : sweep(command, 3) {}

    CellSweep sweep;
    std::vector<std::string> dispatchers{"packed"}, orders{"reduced"};
    std::string exchange = "native";
    bool cached_plan = false;
};

std::vector<std::string> dispatchers_for(const DispatchCommand& command, const Topology& topology, bool root) {
    std::vector<std::string> names = all_or(command.dispatchers, dispatcher_names());
    for (const std::string& name : names) static_cast<void>(entry_named(dispatcher_kinds, "dispatcher", name));
    if (topology.nodes() == 1) return names;
    const auto needs_one_node = [](const std::string& name) { return name == "window"; };
    if (std::erase_if(names, needs_one_node) && root)
        std::cerr << "window needs all ranks on one node and is left out\n";
    return names;
}

int run_dispatch(DispatchCommand& command, const Communicator& world) {
    CellSweep& sweep = command.sweep;
    sweep.judge(world);
    static_cast<void>(parse_exchange(command.exchange, world.size()));
    for (const std::string& order : command.orders) static_cast<void>(combine_order(order));
    const Topology topology = sweep.flags.topology(world);
    const DispatchBenchOptions options{.dispatchers = dispatchers_for(command, topology, world.rank() == 0),
                                       .exchange = command.exchange,
                                       .orders = command.orders,
                                       .topology = topology,
                                       .link = sweep.node_link(),
                                       .seed = sweep.flags.seed,
                                       .step = sweep.step,
                                       .cached_plan = command.cached_plan,
                                       .patience = sweep.patience(),
                                       .make_device = device_maker(sweep.flags.isa, world)};
    const auto bench = [&](const DispatchCell& cell, const Workload& workload) {
        return bench_dispatch(cell, workload, options, world);
    };
    return sweep.run(bench, topology, world);
}

}  // namespace

Runner add_bench_dispatch(CLI::App& command) {
    const auto asked = std::make_shared<DispatchCommand>(command);
    std::string dispatchers;
    for (const std::string& name : dispatcher_names()) dispatchers += concat(name, ", ");
    add_list(command, "--dispatcher", asked->dispatchers, concat("what moves them: ", dispatchers, "all"));
    add_list(command, "--order", asked->orders, "of combine: exact, reduced");
    command.add_option("--exchange", asked->exchange, "of dispatchers that stand on one")->capture_default_str();
    command.add_flag("--cached-plan", asked->cached_plan, "also with a plan that is there already");
    return [asked](const Communicator& world) { return run_dispatch(*asked, world); };
}

}  // namespace expar::cli
