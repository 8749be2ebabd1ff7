#include "bench.hpp"
#include "comm_bench.hpp"
#include "expar/bench/allreduce_bench.hpp"

namespace expar::cli {
namespace {

struct AllreduceCommand {
    explicit AllreduceCommand(CLI::App& command) : flags(command, 2) {}

    CommBenchFlags flags;
    std::vector<int> bytes{4096, 65536, 1 << 20, 16 << 20};
    double link_gbit = 0, width = 0.02;
};

int run_allreduce(const AllreduceCommand& command, const Communicator& world) {
    command.flags.judge(world);
    expect_positive("--bytes", command.bytes);
    for (const int bytes : command.bytes)
        if (bytes % 8 != 0) throw UserError(concat("--bytes: ", bytes, ", expected a multiple of 8"));
    if (!(command.width > 0)) throw UserError(concat("--width: ", command.width, ", expected more than 0"));
    const AllreduceOptions options{
        .topology = command.flags.topology(world),
        .link_bytes_per_second = command.link_gbit * 1e9 / 8,
        .seed = command.flags.seed,
        .patience = {.seconds = command.flags.seconds, .relative_width = command.width, .at_most = 100000},
        .make_device = device_maker(command.flags.isa, world)};
    RowOutput output(command.flags, options.topology, allreduce_columns(), world);
    for (std::size_t i = 0; i < command.bytes.size(); ++i) {
        output.progress(i + 1, command.bytes.size(), concat(command.bytes[i], " bytes"));
        std::vector<Cells> rows;
        for (const AllreduceRow& row : bench_allreduce(std::size_t(command.bytes[i]), options, world))
            rows.push_back(row.cells());
        output.add(std::move(rows));
    }
    return output.finish();
}

}  // namespace

Runner add_bench_allreduce(CLI::App& command) {
    const auto asked = std::make_shared<AllreduceCommand>(command);
    command.add_option("--bytes", asked->bytes, "of the vector")->delimiter(',')->capture_default_str();
    command.add_option("--width", asked->width, "a median is known when its interval is that narrow, relatively")
        ->capture_default_str();
    command.add_option("--link-gbit", asked->link_gbit, "what a node's link carries each way: bounds count it; 0: not")
        ->capture_default_str();
    return [asked](const Communicator& world) { return run_allreduce(*asked, world); };
}

}  // namespace expar::cli
