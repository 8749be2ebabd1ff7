#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/base/device.hpp"

namespace expar {

/// What the processor of this machine can do, and the operating system lets it, of what kernels/cpu has code for.
struct CpuFeatures {
    std::string model;  ///< as the processor names itself
    bool avx2 = false;
    bool avx512 = false;
    bool avx512_bf16 = false;
    bool amx_bf16 = false;
};
[[nodiscard]] CpuFeatures cpu_features();

/// What kernels/cpu has code for, each with all that is before it. The last two differ from avx512 in products of
/// bfloat16 alone.
enum class InstructionSet { avx2, avx512, avx512_bf16, amx };
[[nodiscard]] std::string_view name_of(InstructionSet set);  ///< "avx512_bf16"
/// Throws UserError that lists the known names.
[[nodiscard]] InstructionSet instruction_set_named(std::string_view name);
/// Those that this processor has, the fastest first.
[[nodiscard]] std::vector<InstructionSet> instruction_sets();

/// The kernels of kernels/cpu, float32 and bfloat16, on `threads` threads, for the fastest instruction set of this
/// processor. Throws UserError on a processor without AVX2.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int threads);
/// For a given one; rows may differ in their last bits from those of another.
/// `cpus` has one for each thread, the calling one first, to stay on; none: the system chooses.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int threads, InstructionSet set, std::span<const int> cpus = {});
/// Puts the threads of such a device on their CPUs once more: whoever has used fewer of OpenMP's threads meanwhile, a
/// library for small products, has ended the others.
void keep_threads_on(std::span<const int> cpus);

}  // namespace expar
