#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "expar/base/device.hpp"

namespace expar {

/// What the processor of this machine can do, of what kernels/cpu has code for.
struct CpuFeatures {
    std::string model;  ///< as the processor names itself
    bool avx2 = false;
    bool avx512 = false;
    bool avx512_bf16 = false;
    bool amx_bf16 = false;
};
[[nodiscard]] CpuFeatures cpu_features();

/// What kernels/cpu is compiled for.
enum class InstructionSet { avx2, avx512 };
[[nodiscard]] std::string_view name_of(InstructionSet set);
/// Those that this processor has, the fastest first.
[[nodiscard]] std::vector<InstructionSet> instruction_sets();

/// The kernels of kernels/cpu, float32 alone, on `threads` threads, for the fastest instruction set of this processor.
/// Throws UserError on a processor without AVX2.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int threads);
/// For one that is named; rows may differ in their last bits from those of another.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int threads, InstructionSet set);

}  // namespace expar
