#pragma once

#include <memory>
#include <string>

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

/// "2.6.3": the library that makes the matrix products of kernels/cpu.
[[nodiscard]] std::string onednn_version();

/// The kernels of kernels/cpu, float32 alone, on `threads` threads. Throws UserError on a processor without AVX2.
[[nodiscard]] std::unique_ptr<Device> make_cpu_device(int threads);

}  // namespace expar
