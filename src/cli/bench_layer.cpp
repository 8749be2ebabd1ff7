#include "bench.hpp"
#include "cell_sweep.hpp"
#include "expar/bench/layer_bench.hpp"
#include "expar/train/train_options.hpp"

namespace expar::cli {
namespace {

struct LayerCommand {
    explicit LayerCommand(CLI::App& command) : sweep(command, 10) {
        command.remove_option(command.get_option("--cache"));  // it is what the layers make of it
    }

    CellSweep sweep;
    std::vector<std::string> dispatchers{"packed", "window"}, orders{"reduced"};
    std::vector<int> chunks{1};
    std::string exchange = "native";
    int layers = 1, intermediate = 512;
};

int run_layer(LayerCommand& command, const Communicator& world) {
    CellSweep& sweep = command.sweep;
    sweep.judge(world);
    expect_positive("--chunks", command.chunks);
    expect_positive("--layers", std::span(&command.layers, 1));
    expect_positive("--intermediate", std::span(&command.intermediate, 1));
    static_cast<void>(parse_exchange(command.exchange, world.size()));
    for (const std::string& order : command.orders) static_cast<void>(combine_order(order));
    const std::string exchange = exchange_on_nodes(command.exchange, sweep.flags.ranks_per_node, world);
    const Topology topology = topology_for(exchange, world);
    const LayerBenchOptions options{
        .dispatch = {.dispatchers = dispatchers_for(command.dispatchers, topology, world),
                     .exchange = exchange,
                     .orders = command.orders,
                     .topology = topology,
                     .link = sweep.node_link(),
                     .seed = sweep.flags.seed,
                     .step = sweep.step,
                     .patience = sweep.patience(),
                     .make_device = device_maker(sweep.flags.isa, world)},
        .chunks = command.chunks,
        .layers = command.layers,
        .intermediate = command.intermediate,
    };
    const auto bench = [&](const DispatchCell& cell, const Workload& workload) {
        return bench_layer(cell, workload, options, world);
    };
    return sweep.run(bench, topology, layer_columns(), world);
}

}  // namespace

Runner add_bench_layer(CLI::App& command) {
    const auto asked = std::make_shared<LayerCommand>(command);
    command.add_option("--layers", asked->layers, "run one after the other; seconds are of one of them")
        ->capture_default_str();
    add_list(command, "--chunks", asked->chunks, "parts that a layer's tokens travel in, while experts compute");
    command.add_option("--intermediate", asked->intermediate, "columns within an expert")->capture_default_str();
    add_dispatchers(command, asked->dispatchers);
    add_list(command, "--order", asked->orders, concat("of combine: ", names_of(combine_orders)));
    command.add_option("--exchange", asked->exchange, "of dispatchers that stand on one")->capture_default_str();
    return [asked](const Communicator& world) { return run_layer(*asked, world); };
}

}  // namespace expar::cli
