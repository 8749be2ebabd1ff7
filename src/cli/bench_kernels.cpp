#include <algorithm>
#include <iostream>

#include "bench.hpp"
#include "compute_device.hpp"
#include "dense_peer.hpp"
#include "expar/bench/kernel_bench.hpp"
#include "expar/bench/probe.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

struct KernelsCommand {
    KernelBenchOptions options;
    std::string isa, json, filter;
};

void judge(const KernelsCommand& command, const Communicator& world) {
    if (world.size() != 1)
        throw UserError(concat("bench kernels: measures one process, expected 1 rank, got ", world.size()));
    if (command.options.threads < 1)
        throw UserError(concat("--threads: ", command.options.threads, ", expected at least 1"));
    if (!(command.options.seconds > 0))
        throw UserError(concat("--seconds: ", command.options.seconds, ", expected more than 0"));
    if (!command.json.empty()) expect_writable(command.json);
}

int run_kernels(const KernelsCommand& command, const Communicator& world) {
    judge(command, world);
    KernelBenchOptions options = command.options;
    const auto kernels = chosen_kernels(command.filter);
    options.sets = command.isa == "all" ? instruction_sets() : std::vector{choose_instruction_set(command.isa, world)};
    options.cpus = places_for(options.threads, world);

    const auto peer = make_dense_peer(options.threads, options.sets.front());
    std::cout << cpu_features().model << ", " << options.threads << " threads; " << dense_peer_built_with()
              << "; cold: " << (cold_bytes() >> 20) << " MiB are touched before operands are used again\n\n";
    print_heading(std::cout);
    const auto rows =
        bench_kernels(kernels, options, peer.get(), [](const KernelRow& row) { print_row(row, std::cout); });
    if (!command.json.empty()) replace_file(command.json, to_json(rows, peer.get()));
    if (!std::ranges::all_of(rows, &KernelRow::passed)) return EXIT_FAILURE;
    constexpr int bound_violated = 3;
    return std::ranges::any_of(rows, &KernelRow::bound_violated) ? bound_violated : EXIT_SUCCESS;
}

}  // namespace

Runner add_bench_kernels(CLI::App& command) {
    auto asked = std::make_shared<KernelsCommand>();
    KernelBenchOptions& options = asked->options;
    command.add_option("--json", asked->json, "write the rows there")->type_name("FILE");
    command.add_option("--isa", asked->isa, concat(isa_help, "; all: every one of this processor"))->type_name("NAME");
    command.add_option("--threads", options.threads, "threads of every kernel")->capture_default_str();
    command.add_option("--seconds", options.seconds, "for each row at most")->capture_default_str();
    command.add_option("--filter", asked->filter, "only rows whose kernel, shape and type have this within");
    return [asked](const Communicator& world) { return run_kernels(*asked, world); };
}

}  // namespace expar::cli
