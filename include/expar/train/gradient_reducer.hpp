#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/layout.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// Sums the gradients of every block over the ranks that hold it, while backward still runs.
///
/// Dense and router blocks are summed over all ranks, an expert over its hosts in every EP group. Each bucket is cut
/// into one shard per rank; a shard's parts travel to its owner, who adds them in ascending rank, and the sum travels
/// back: all hosts get identical bits, in every run. Only sums: the objective has been scaled before.
class GradientReducer {
public:
    /// Collective over `world`. Blocks must outlive it.
    GradientReducer(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks, const Placement& placement,
                    const Layout& layout, const Communicator& world);
    ~GradientReducer();

    /// The block's gradient is complete on this rank: it may travel from now on. All hosts of a bucket's blocks call it
    /// for these in the same order. Does not block.
    void ready(ParameterBlock& block);
    /// Blocks until every block's gradient is the sum. Every block must have been ready.
    void finish();

    [[nodiscard]] double seconds_waiting() const;  ///< inside finish(), since construction

private:
    struct Bucket;
    struct Group;
    std::vector<std::unique_ptr<Group>> groups_;
    std::vector<std::unique_ptr<Bucket>> buckets_;
    std::map<const ParameterBlock*, Bucket*> bucket_of_;
    double seconds_waiting_ = 0;
};

}  // namespace expar
