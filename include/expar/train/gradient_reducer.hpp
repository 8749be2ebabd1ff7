#pragma once

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/layout.hpp"
#include "expar/moe/parameter_block.hpp"
#include "expar/moe/placement.hpp"

namespace expar {

/// Seconds of the calling thread inside a GradientReducer.
struct ReductionSeconds {
    double during_backward = 0;  ///< in ready() and progress()
    double after = 0;            ///< in finish(), waits for other ranks included
};

/// Sums the gradients of every block over the ranks that hold it, while backward still runs.
///
/// Dense and router blocks are summed over all ranks, an expert over its hosts in every EP group (HostSets). Blocks of
/// the same hosts travel in buckets of a quarter of a megabyte or more, those first that backward reaches first. A
/// bucket is cut into one shard per host; a shard's parts travel to its owner, who adds them in ascending rank, and the
/// sum travels back: all hosts get identical bits, in every run. Only sums: the objective has been scaled before.
/// Blocks that one rank alone holds are left as they are.
class GradientReducer {
public:
    /// What other ranks' parts may take at a time, of one set of hosts, unless one bucket alone takes more.
    static constexpr std::size_t most_bytes_under_way = std::size_t(16) << 20;

    /// `blocks` are all blocks of this rank, in the order of describe_blocks(), and must outlive it. Collective over
    /// `world`, as is destruction.
    GradientReducer(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks, const Placement& placement,
                    const Layout& layout, const Communicator& world);
    ~GradientReducer();

    /// The block's gradient is complete on this rank: it may travel from now on. Does not block, and drives what is
    /// under way. In any order, but a bucket waits for those that were to travel before it.
    void ready(ParameterBlock& block);
    /// Drives what is under way, without blocking: for moments at which no block is ready.
    void progress();
    /// Whether gradients travel as soon as they may, or all of them in finish(). The sums have the same bits.
    void overlap(bool on) { overlap_ = on; }
    /// Blocks until every block's gradient is the sum. Every block must have been ready since the last time.
    void finish();

    /// Since the last call.
    [[nodiscard]] ReductionSeconds take_seconds() { return std::exchange(seconds_, {}); }

private:
    struct Bucket;
    struct Group;
    void check_all_ready() const;

    std::vector<std::unique_ptr<Group>> groups_;  // the host sets of two ranks or more to which this rank belongs
    std::map<const ParameterBlock*, Bucket*> bucket_of_;
    bool overlap_ = true;
    ReductionSeconds seconds_;
};

}  // namespace expar
