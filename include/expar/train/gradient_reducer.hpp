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
/// Dense and router blocks are summed over all ranks, an expert over its hosts in every EP group (HostSets). Blocks of
/// the same hosts travel in buckets of about a megabyte, those first that backward reaches first. A bucket is cut into
/// one shard per host; a shard's parts travel to its owner, who adds them in ascending rank, and the sum travels back:
/// all hosts get identical bits, in every run. Only sums: the objective has been scaled before. Blocks that one rank
/// alone holds are left as they are.
class GradientReducer {
public:
    /// `blocks` are all blocks of this rank, in the order of describe_blocks(), and must outlive it. Collective over
    /// `world`, as is destruction.
    GradientReducer(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks, const Placement& placement,
                    const Layout& layout, const Communicator& world);
    ~GradientReducer();

    /// The block's gradient is complete on this rank: it may travel from now on. Does not block, and drives what is
    /// under way. In any order, but a bucket waits for those that were to travel before it.
    void ready(ParameterBlock& block);
    /// Blocks until every block's gradient is the sum. Every block must have been ready since the last time.
    void finish();

    [[nodiscard]] double seconds_waiting() const { return seconds_waiting_; }  ///< inside finish(), since construction

private:
    struct Bucket;
    struct Group;
    void check_all_ready() const;

    std::vector<std::unique_ptr<Group>> groups_;  // the host sets of two ranks or more to which this rank belongs
    std::map<const ParameterBlock*, Bucket*> bucket_of_;
    double seconds_waiting_ = 0;
};

}  // namespace expar
