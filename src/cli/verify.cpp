#include "expar/verify/verify.hpp"

#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "compute_device.hpp"
#include "expar/base/names.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/moe/dispatcher.hpp"
#include "expar/store/partial_file.hpp"
#include "expar/train/train_options.hpp"
#include "expar/verify/golden_check.hpp"
#include "subcommands.hpp"

namespace expar::cli {
namespace {

struct VerifyCommand {
    std::string json;
    std::vector<std::string> golden;
    std::string dispatcher = "all";
    ComputeOptions compute;
};

// Golden files are compared in float64 and float32, whatever rows are.
void judge_dtype(const VerifyCommand& command) {
    const std::string& dtype = command.compute.dtype;
    if (!dtype.empty() && row_dtype(dtype) != DType::float32 && !command.golden.empty())
        throw UserError(concat("verify: --golden compares float32, got --dtype ", dtype));
}

VerifyReport check_golden(const VerifyCommand& command, const Communicator& world) {
    VerifyReport all;
    const auto cpu = make_compute_device(command.compute, world);
    const auto reference = make_reference_device();
    for (const std::string& file : command.golden) {
        const GoldenBlock golden = read_golden(file, world);
        const std::string name = std::filesystem::path(file).stem().string();
        if (world.rank() == 0)
            std::cout << file << ": " << golden.model << " by transformers " << golden.transformers_version
                      << ", torch " << golden.torch_version << ": " << golden.tokens << " tokens, hidden "
                      << golden.hidden << ", " << golden.experts << " experts of width " << golden.intermediate
                      << ", top-" << golden.top_k << "\n";
        for (const auto& [dtype, device] : {std::pair{DType::float64, reference.get()}, {DType::float32, cpu.get()}}) {
            const VerifyReport report = verify_golden(golden, name, dtype, *device, world);
            all.rows.insert(all.rows.end(), report.rows.begin(), report.rows.end());
        }
    }
    return all;
}

VerifyReport check_training(const VerifyCommand& command, const Communicator& world) {
    const auto device = make_compute_device(command.compute, world);
    VerifyOptions options;
    if (!command.compute.dtype.empty()) options.dtype = command.compute.dtype;
    options.dispatchers =
        command.dispatcher == "all" ? dispatcher_names() : std::vector<std::string>{command.dispatcher};
    return verify_training(*device, options, world,
                           [](const std::string& what) { std::cerr << "verify: " << what << "\n"; });
}

int run_verify(const VerifyCommand& command, const Communicator& world) {
    judge_dtype(command);  // alike on every rank
    if (command.dispatcher != "all") static_cast<void>(entry_named(dispatcher_kinds, "dispatcher", command.dispatcher));
    if (!command.json.empty()) judge_on_root(world, [&] { expect_writable(command.json); });
    const VerifyReport report = command.golden.empty() ? check_training(command, world) : check_golden(command, world);
    if (world.rank() == 0) {
        report.print(std::cout);
        std::cout << (report.passed() ? "verify: passed" : "verify: FAILED") << ", " << report.compared()
                  << " comparisons on " << world.size() << " ranks\n"
                  << std::flush;
    }
    if (!command.json.empty()) judge_on_root(world, [&] { replace_file(command.json, report.json()); });
    return report.passed() ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

Runner add_verify(CLI::App& command) {
    auto options = std::make_shared<VerifyCommand>();
    command.add_option("--json", options->json, "write every comparison to this file")->type_name("FILE");
    command
        .add_option("--golden", options->golden,
                    "compare the MoE layer with these files of scripts/reference/make_golden.py instead")
        ->type_name("FILE...")
        ->expected(1, -1);
    command
        .add_option("--dispatcher", options->dispatcher,
                    concat("what moves rows: ", names_of(dispatcher_kinds), ", or all of them"))
        ->capture_default_str();
    add_compute_flags(command, options->compute);
    return [options](const Communicator& world) { return run_verify(*options, world); };
}

}  // namespace expar::cli
