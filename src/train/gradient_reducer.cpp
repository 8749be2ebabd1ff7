#include "expar/train/gradient_reducer.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

#include "expar/observe/stopwatch.hpp"
#include "expar/train/host_sets.hpp"
#include "gradient_bucket.hpp"

namespace expar {
namespace {

// Large enough that a bucket costs more than its start, small enough that the first leaves early and the last, which
// nothing hides, is short. A block of this size is a bucket of its own, and travels from where it lies.
constexpr std::size_t full_bytes = std::size_t(1) << 18;
constexpr std::size_t limit_bytes = std::size_t(4) << 20;

// Runs of blocks: a run ends once it is full, or where the next block would break the limit.
std::vector<std::vector<ParameterBlock*>> cut_into_runs(std::span<ParameterBlock* const> blocks) {
    std::vector<std::vector<ParameterBlock*>> runs;
    std::size_t bytes = full_bytes;
    for (ParameterBlock* block : blocks) {
        const std::size_t more = block->flat_value().bytes();
        if (bytes >= full_bytes || bytes + more > limit_bytes) {
            runs.emplace_back();
            bytes = 0;
        }
        runs.back().push_back(block);
        bytes += more;
    }
    return runs;
}

}  // namespace

struct GradientReducer::Bucket {
    GradientBucket rows;
    int blocks_ready = 0;

    [[nodiscard]] bool complete() const { return blocks_ready == int(rows.blocks().size()); }
};

// The hosts of one set with what they sum. Buckets pass every stage in their order, which is the same on all hosts.
struct GradientReducer::Group {
    GradientHosts hosts;
    std::vector<std::unique_ptr<Bucket>> buckets;
    std::size_t started = 0, combined = 0, finished = 0;
    std::size_t bytes_under_way = 0;  // of the buckets that are started and not combined

    explicit Group(Communicator members) : hosts(std::move(members)) {}

    void start() {
        while (started < buckets.size() && buckets[started]->complete()) {
            const std::size_t more = buckets[started]->rows.bytes();
            if (started > combined && bytes_under_way + more > most_bytes_under_way) return;
            bytes_under_way += more;
            buckets[started++]->rows.start();
        }
    }
    void combine() {
        bytes_under_way -= buckets[combined]->rows.bytes();
        buckets[combined++]->rows.combine();
    }
    void progress() {
        start();
        while (combined < started && buckets[combined]->rows.parts_arrived()) {
            combine();
            start();
        }
        while (finished < combined && buckets[finished]->rows.sums_arrived()) buckets[finished++]->rows.finish();
    }
    void finish_parts() {
        while (combined < buckets.size()) {
            start();
            combine();
        }
    }
    void finish_sums() {
        while (finished < buckets.size()) buckets[finished++]->rows.finish();
        started = combined = finished = 0;
        for (const auto& bucket : buckets) bucket->blocks_ready = 0;
    }
};

GradientReducer::GradientReducer(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks,
                                 const Placement& placement, const Layout& layout, const Communicator& world) {
    const HostSets sets(placement, layout);
    std::vector<std::vector<ParameterBlock*>> blocks_of(sets.count());
    for (const auto& block : std::views::reverse(blocks)) blocks_of[sets.set_of(block->spec())].push_back(block.get());

    for (const std::vector<int>& round : sets.rounds()) {
        const auto mine = std::ranges::find_if(
            round, [&](int set) { return std::ranges::binary_search(sets.ranks(set), world.rank()); });
        Communicator hosts = world.split(mine == round.end() ? sets.count() : *mine);
        if (mine == round.end() || blocks_of[*mine].empty()) continue;
        Group& group = *groups_.emplace_back(std::make_unique<Group>(std::move(hosts)));
        for (auto& run : cut_into_runs(blocks_of[*mine])) {
            Bucket& bucket = *group.buckets.emplace_back(
                std::make_unique<Bucket>(Bucket{GradientBucket(device, group.hosts, std::move(run))}));
            for (const ParameterBlock* block : bucket.rows.blocks()) bucket_of_[block] = &bucket;
        }
    }
}

GradientReducer::~GradientReducer() = default;

void GradientReducer::ready(ParameterBlock& block) {
    if (const auto found = bucket_of_.find(&block); found != bucket_of_.end()) ++found->second->blocks_ready;
    progress();
}

void GradientReducer::progress() {
    if (!overlap_) return;
    const Stopwatch watch(seconds_.during_backward);
    for (const auto& group : groups_) group->progress();
}

void GradientReducer::finish() {
    check_all_ready();
    const Stopwatch watch(seconds_.after);
    for (const auto& group : groups_) group->progress();  // without overlap, what fits under way starts here
    // All sums leave before the first is waited for: hosts of several groups may wait for these in any order.
    for (const auto& group : groups_) group->finish_parts();
    for (const auto& group : groups_) group->finish_sums();
}

void GradientReducer::check_all_ready() const {
    for (const auto& group : groups_)
        for (const auto& bucket : group->buckets)
            if (!bucket->complete())
                throw Error(concat("gradient reducer: ", bucket->blocks_ready, " of ", bucket->rows.blocks().size(),
                                   " blocks beside ", bucket->rows.blocks().front()->spec().name(),
                                   " were ready, expected each once"));
}

}  // namespace expar
