#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/bench/bound.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {

/// What a kernel does with a matrix.
enum class Access { read, written, updated };

/// A matrix that a kernel is called with, and the random numbers that it starts with.
struct Operand {
    Access access;
    DType dtype;
    int rows, cols;
    double scale = 1;       ///< of normal numbers
    bool positive = false;  ///< their absolute values
    /// Also made into a Weight for rows of this type, which is then what is read.
    std::optional<DType> weight_for = {};
};

/// The matrices of a call, and Weights on those of them that are some, both in the order of the kernel's operands.
struct Operands {
    std::vector<Matrix> matrices;
    std::vector<std::unique_ptr<Weight>> weights;

    [[nodiscard]] Matrix& operator[](std::size_t i) { return matrices[i]; }
    [[nodiscard]] const Matrix& operator[](std::size_t i) const { return matrices[i]; }
};

/// A kernel on one shape: its operands, how it is called with them, and what a bound is made of.
///
/// It is called on the device that is measured and, with the same numbers in float64, on the reference device.
struct KernelCase {
    using Call = std::function<void(Device& device, Operands& operands)>;
    /// Largest error of `after`, what the call has made of `before`, against the reference device on a part of it.
    using PartError = std::function<double(Device& reference, const Operands& before, const Operands& after)>;

    /// A dense product of the same work, for another library: c [rows, columns] = op(a) op(b).
    struct DenseProduct {
        int rows = 0, columns = 0, depth = 0;
        bool a_transposed = false, b_transposed = false;
        bool constant_b = false;  ///< b is a weight, which may be packed beforehand
        bool wide_c = false;      ///< c is of the type of sums
    };

    std::string kernel, shape;
    DType dtype;  ///< of the rows
    std::vector<Operand> operands;
    MemoryTraffic traffic;
    double flops = 0;
    double tolerance = 0;  ///< of max_error
    Call run;
    Call prepare = {};          ///< computes the operands that must fit the others; once, before all else
    PartError part_error = {};  ///< where the reference device would take too long for all of it
    DenseProduct dense = {};    ///< no rows: there is none
};

/// Each input once, each output once.
[[nodiscard]] MemoryTraffic compulsory_traffic(std::span<const Operand> operands);

/// Normal numbers that depend on `seed`, or their absolute values; the same few over and over.
void fill(Rows rows, double scale, std::uint64_t seed, bool positive = false);

/// Its operands in the device's memory, filled and prepared; always with the same numbers.
[[nodiscard]] Operands make_operands(const KernelCase& kernel, Device& device);

/// The same numbers in other memory of that device.
[[nodiscard]] Operands copy_of(const KernelCase& kernel, const Operands& operands, Device& device);

/// A copy, in float64 on the reference device.
[[nodiscard]] Matrix in_float64(Device& reference, ConstRows rows);

/// max |a - b| / max |b|, infinite where either has no number.
[[nodiscard]] double relative_error(ConstRows a, ConstRows b);

/// Runs it once on either device, on the same data: the largest relative error of an output.
[[nodiscard]] double max_error(const KernelCase& kernel, Device& device, Device& reference);

}  // namespace expar
