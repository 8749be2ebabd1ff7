#include "compute_device.hpp"

#include <CLI/CLI.hpp>

#include "expar/comm/verdict.hpp"

namespace expar::cli {

void add_compute_flags(CLI::App& command, ComputeOptions& options) {
    command.add_option("--threads", options.threads, "threads of a rank")->capture_default_str();
    command.add_option("--isa", options.isa, isa_help)->type_name("NAME");
}

InstructionSet choose_instruction_set(const std::string& isa, const Communicator& world) {
    InstructionSet set = InstructionSet::avx2;
    judge_everywhere(world, [&] {
        if (!isa.empty()) set = instruction_set_named(isa);
        static_cast<void>(isa.empty() ? make_cpu_device(1) : make_cpu_device(1, set));  // throws where it cannot run
        if (isa.empty()) set = instruction_sets().front();
    });
    int slowest = -int(set);
    world.max(std::span(&slowest, 1), {"instruction set"});
    return InstructionSet(-slowest);
}

std::unique_ptr<Device> make_compute_device(const ComputeOptions& options, const Communicator& world) {
    if (options.threads < 1) throw UserError(concat("--threads: ", options.threads, ", expected at least 1"));
    return make_cpu_device(options.threads, choose_instruction_set(options.isa, world));
}

}  // namespace expar::cli
