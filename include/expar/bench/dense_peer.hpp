#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "expar/bench/kernel_case.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {

/// Dense products of another library, as the yardstick of ours.
class DensePeer {
public:
    virtual ~DensePeer() = default;

    [[nodiscard]] virtual std::string name() const = 0;  ///< with its version

    /// One of its ways to compute a product, on memory of its own; all that can be prepared has been.
    struct Way {
        std::string name;
        std::function<void()> run;
        std::function<float(int row, int column)> result;  ///< of the last run
    };
    /// The ways it has for rows of this type; none where it has none.
    ///
    /// a and b hold the numbers of fill() with seeds 1 and 2, of the shapes that they are stored in.
    [[nodiscard]] virtual std::vector<Way> ways(const KernelCase::DenseProduct& product, DType dtype) const = 0;
};

/// Makes a peer that runs on as many threads, and knows no instruction set beyond this one.
using MakeDensePeer = std::function<std::unique_ptr<DensePeer>(int threads, InstructionSet set)>;

}  // namespace expar
