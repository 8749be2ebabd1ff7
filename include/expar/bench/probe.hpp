#pragma once

#include <cstddef>
#include <memory>

#include "expar/base/device.hpp"
#include "expar/base/matrix.hpp"
#include "expar/bench/kernel_case.hpp"

namespace expar {

/// How much has to be touched before what was touched first is cold: the last-level cache, as the system states it,
/// between 64 and 512 MiB. On a virtual machine that is the cache of the whole socket, which others use as well.
[[nodiscard]] std::size_t cold_bytes();

/// Loops that move memory and do nothing else, going round a ring of cold_bytes() piece by piece.
///
/// Each returns the seconds of one piece, on all threads: of as many bytes, read and written together. Stores are
/// ordinary or go past the caches, whichever is faster.
class MemoryProbe {
public:
    explicit MemoryProbe(int threads);

    /// A piece of about this traffic, so that what disturbs a kernel disturbs the probe beside it as much.
    [[nodiscard]] static std::size_t piece_for(double bytes);

    [[nodiscard]] double read(std::size_t bytes);
    [[nodiscard]] double write(std::size_t bytes);
    [[nodiscard]] double copy(std::size_t bytes);    ///< half of them to another place
    [[nodiscard]] double update(std::size_t bytes);  ///< half of them in place

private:
    struct Free {
        void operator()(std::byte* memory) const;
    };
    [[nodiscard]] std::byte* next(std::size_t bytes);
    template <class Loop>
    double timed(std::size_t bytes, Loop loop);

    int threads_;
    std::size_t ring_bytes_;
    std::unique_ptr<std::byte, Free> ring_;
    std::size_t place_ = 0;
};

/// A device's own product of matrices that its nearer caches hold: the rate at which it can compute.
class DenseProbe {
public:
    static constexpr KernelCase::DenseProduct product = {
        .rows = 512, .columns = 512, .depth = 512, .b_transposed = true, .constant_b = true};
    static constexpr double flops = 2.0 * product.rows * product.columns * product.depth;

    DenseProbe(Device& device, DType dtype);

    [[nodiscard]] double run();  ///< seconds of one

private:
    Device& device_;
    Matrix x_, w_, y_;
    std::unique_ptr<Weight> weight_;
};

}  // namespace expar
