#pragma once

#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/compute/cpu_device.hpp"

namespace CLI {
class App;
}

namespace expar::cli {

/// What a rank computes with.
struct ComputeOptions {
    int threads = 1;
    std::string isa{};    ///< name of an InstructionSet; empty: the fastest
    std::string dtype{};  ///< of rows, see row_dtype; empty: float32, or as a stored model was trained
};

constexpr const char* isa_help =
    "instruction set of the kernels: avx2, avx512, avx512_bf16, amx; empty: the fastest that all ranks have";

/// "bf16 (amx products)": what rows are kept in, and what multiplies them.
[[nodiscard]] std::string describe_compute(DType rows, InstructionSet set);

/// Adds --threads, --isa and --dtype.
void add_compute_flags(CLI::App& command, ComputeOptions& options);

/// Which instruction set that is: the one named, else the fastest that all ranks have, since bits differ between them.
/// Collective; throws UserError on every rank.
[[nodiscard]] InstructionSet choose_instruction_set(const std::string& isa, const Communicator& world);

/// A CPU for each thread of this rank to stay on where the launcher left room, else none; `notes` is told, on rank 0,
/// what came in the way. Collective.
[[nodiscard]] std::vector<int> places_for(int threads, const Communicator& world, std::ostream& notes = std::cout);

/// With its threads where places_for puts them. Collective; throws UserError on every rank.
[[nodiscard]] std::unique_ptr<Device> make_compute_device(const ComputeOptions& options, const Communicator& world,
                                                          std::ostream& notes = std::cout);

}  // namespace expar::cli
