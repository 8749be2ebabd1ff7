#pragma once

#include <utility>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/moe/parameter_block.hpp"

namespace expar {

/// The ranks that hold the same blocks, twice: parts and sums of several buckets travel at a time, each kind in the
/// order of the buckets.
struct GradientHosts {
    Communicator parts, sums;

    explicit GradientHosts(Communicator members) : parts(std::move(members)), sums(parts.duplicate()) {}
};

/// Consecutive gradients of equal hosts on their way: parts to the owners of the shards, sums back to all.
///
/// start(), then combine() once parts_arrived(), then finish() once sums_arrived(); the two wait if called sooner.
class GradientBucket {
public:
    GradientBucket(Device& device, const GradientHosts& hosts, std::vector<ParameterBlock*> blocks);

    void start();
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
    [[nodiscard]] Rows all();            ///< staged, or a block's own gradient
    [[nodiscard]] Rows shard(int host);  ///< what `host` adds
    [[nodiscard]] Rows part(int host);   ///< what `host` has of this rank's shard

    Device& device_;
    const GradientHosts& hosts_;
    std::vector<ParameterBlock*> blocks_;
    DType dtype_;
    int rows_ = 0;
    bool staged_;                  // several blocks, or one that is no whole number of rows
    std::vector<int> shard_rows_;  // [hosts]
    Matrix staging_, parts_;       // while they are needed
    Transfer transfer_;            // last: finished before the memory that it reads and writes is gone
};

}  // namespace expar
