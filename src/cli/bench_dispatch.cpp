#include "bench.hpp"
#include "cell_sweep.hpp"
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

int run_dispatch(DispatchCommand& command, const Communicator& world) {
    CellSweep& sweep = command.sweep;
    sweep.judge(world);
    static_cast<void>(parse_exchange(command.exchange, world.size()));
    for (const std::string& order : command.orders) static_cast<void>(combine_order(order));
    const std::string exchange = exchange_on_nodes(command.exchange, sweep.flags.ranks_per_node, world);
    const Topology topology = topology_for(exchange, world);
    const DispatchBenchOptions options{.dispatchers = dispatchers_for(command.dispatchers, topology, world),
                                       .exchange = exchange,
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
    return sweep.run(bench, topology, dispatch_columns(), world);
}

}  // namespace

Runner add_bench_dispatch(CLI::App& command) {
    const auto asked = std::make_shared<DispatchCommand>(command);
    add_dispatchers(command, asked->dispatchers);
    add_list(command, "--order", asked->orders, concat("of combine: ", names_of(combine_orders)));
    command.add_option("--exchange", asked->exchange, "of dispatchers that stand on one")->capture_default_str();
    command.add_flag("--cached-plan", asked->cached_plan, "also with a plan that is there already");
    return [asked](const Communicator& world) { return run_dispatch(*asked, world); };
}

}  // namespace expar::cli
