#pragma once

#include <vector>

#include "expar/comm/exchange.hpp"
#include "expar/moe/parameter_block.hpp"

namespace expar {

/// Consecutive gradients of equal hosts on their way: parts to the owners of the shards, sums back to all.
///
/// start(), then combine() once parts_arrived(), then finish() once sums_arrived(); the two wait if called sooner.
class GradientBucket {
public:
    GradientBucket(Device& device, const Communicator& hosts, std::vector<ParameterBlock*> blocks);

    void start(Exchange& exchange);
    [[nodiscard]] bool parts_arrived() { return transfer_.progress(); }
    void combine();
    [[nodiscard]] bool sums_arrived() { return transfer_.progress(); }
    void finish();

    [[nodiscard]] std::size_t bytes() const { return std::size_t(rows_) * row_elements * size_of(dtype_); }
    [[nodiscard]] const std::vector<ParameterBlock*>& blocks() const { return blocks_; }

private:
    /// Gradients are cut into rows of this many elements, of which a shard has a whole number.
    static constexpr int row_elements = 64;

    void pack();
    void unpack();
    [[nodiscard]] Rows all();  ///< staged, or a block's own gradient

    Device& device_;
    const Communicator& hosts_;
    std::vector<ParameterBlock*> blocks_;
    DType dtype_;
    int rows_ = 0;
    bool staged_;                  // several blocks, or one that is no whole number of rows
    std::vector<int> shard_rows_;  // [hosts]
    Matrix staging_, parts_;       // while they are needed
    Transfer transfer_;            // last: finished before the memory that it reads and writes is gone
};

}  // namespace expar
