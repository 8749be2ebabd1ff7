#pragma once

#include <array>
#include <vector>

#include "expar/base/size_class.hpp"
#include "expar/model/model_options.hpp"

namespace expar::cli {

/// A MemoryPool that only counts: what is never touched of a block is not resident.
class PoolModel {
public:
    /// The number of the block that serves the request.
    [[nodiscard]] std::size_t take(double bytes);
    void give(std::size_t block);
    [[nodiscard]] double peak_bytes() const { return most_bytes_; }

private:
    struct Block {
        std::size_t index;  // its size class
        double touched;
    };
    std::vector<Block> blocks_;
    std::array<std::vector<std::size_t>, SizeClass::count> free_;
    double bytes_ = 0, most_bytes_ = 0;
};

/// What decides how large the matrices of a step are, on one rank.
struct StepShape {
    ModelOptions model;  ///< resolved
    double tokens = 0;
    int members = 1;       ///< ranks of the EP group
    bool reduced = false;  ///< combine order: not exact
    bool recompute = false;
    double row_bytes = 4;  ///< of an element of activations, of their gradients and of what travels
};

/// The most bytes that a device's pool hands out in a micro-batch's forward and backward: the allocations of both are
/// gone through in their order, as Transformer and MoeLayer make them, and blocks are used again as MemoryPool does.
[[nodiscard]] double peak_bytes_of_step(const StepShape& shape);

}  // namespace expar::cli
