#include "compute_device.hpp"

#include <CLI/CLI.hpp>

#include "expar/comm/cpu_places.hpp"
#include "expar/comm/verdict.hpp"

namespace expar::cli {

void add_compute_flags(CLI::App& command, ComputeOptions& options) {
    command.add_option("--threads", options.threads, "threads of a rank")->capture_default_str();
    command.add_option("--isa", options.isa, isa_help)->type_name("NAME");
    command
        .add_option("--dtype", options.dtype,
                    "of rows: float32, bf16; empty: float32, for a stored model what it was trained with")
        ->type_name("NAME");
}

std::string describe_compute(DType rows, InstructionSet set) {
    if (rows == DType::float32) return concat("float32 (", name_of(set), ")");
    if (set == InstructionSet::amx || set == InstructionSet::avx512_bf16)
        return concat("bf16 (", name_of(set), " products)");
    return concat("bf16 storage, float32 products (", name_of(set), ")");
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

std::vector<int> places_for(int threads, const Communicator& world, std::ostream& notes) {
    ThreadPlaces places = place_threads(threads, world);
    for (const auto& note : world.gather(places.note, 0, {"places of threads"})) {
        if (note.empty()) continue;
        notes << note << std::endl;
        break;  // other nodes have much the same to say
    }
    return std::move(places.cpus);
}

std::unique_ptr<Device> make_compute_device(const ComputeOptions& options, const Communicator& world,
                                            std::ostream& notes) {
    if (options.threads < 1) throw UserError(concat("--threads: ", options.threads, ", expected at least 1"));
    const InstructionSet set = choose_instruction_set(options.isa, world);
    return make_cpu_device(options.threads, set, places_for(options.threads, world, notes));
}

}  // namespace expar::cli
