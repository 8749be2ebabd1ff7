#include "bench.hpp"
#include "comm_bench.hpp"
#include "expar/bench/machine_probe.hpp"

namespace expar::cli {
namespace {

struct ProbeCommand {
    explicit ProbeCommand(CLI::App& command) : flags(command, 0.5) {}

    CommBenchFlags flags;
    std::vector<int> top_k{1, 2, 4, 8}, row_bytes{2048, 8192};
    int mebibytes = 8;
};

int run_probe(const ProbeCommand& command, const Communicator& world) {
    command.flags.judge(world);
    expect_positive("--top-k", command.top_k);
    expect_positive("--row-bytes", command.row_bytes);
    expect_positive("--mebibytes", std::span(&command.mebibytes, 1));
    MachineProbeOptions options;
    options.topology = command.flags.topology(world);
    options.patience.seconds = command.flags.seconds;
    options.top_k = command.top_k;
    options.row_bytes.assign(command.row_bytes.begin(), command.row_bytes.end());
    options.bytes = std::size_t(command.mebibytes) << 20;
    options.make_device = device_maker(command.flags.isa, world);
    RowOutput output(command.flags, options.topology, probe_columns(), world);
    probe_machine(options, world, [&](const std::vector<ProbeRow>& rows) {
        std::vector<Cells> cells;
        for (const ProbeRow& row : rows) cells.push_back(row.cells());
        output.add(std::move(cells));
    });
    return output.finish();
}

}  // namespace

Runner add_bench_probe(CLI::App& command) {
    const auto asked = std::make_shared<ProbeCommand>(command);
    const auto list = [&command](const std::string& flag, auto& values, const std::string& help) {
        command.add_option(flag, values, help)->delimiter(',')->capture_default_str();
    };
    list("--top-k", asked->top_k, "places that a row goes to");
    list("--row-bytes", asked->row_bytes, "of a row");
    command.add_option("--mebibytes", asked->mebibytes, "that a rank stores in a pattern, about")
        ->capture_default_str();
    return [asked](const Communicator& world) { return run_probe(*asked, world); };
}

}  // namespace expar::cli
