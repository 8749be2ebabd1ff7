#include "dispatch_rows.hpp"

#include <algorithm>
#include <functional>

#include "cell_row.hpp"
#include "stage_bound.hpp"

namespace expar {
namespace {

// What is one row, and the regions that it is the sum of.
struct RowKind {
    const char* phase;
    bool backward, cached_plan;
    std::vector<Region> regions;
};

std::vector<RowKind> row_kinds(bool cached_plan) {
    std::vector<RowKind> kinds = {
        {"plan", false, false, {Region::plan}},
        {"counts", false, false, {Region::counts}},
        {"dispatch", false, false, {Region::dispatch}},
        {"combine", false, false, {Region::combine}},
        {"total", false, false, {Region::dispatch, Region::combine}},
        {"combine", true, true, {Region::combine_backward}},
        {"dispatch", true, true, {Region::dispatch_backward}},
        {"total", true, true, {Region::combine_backward, Region::dispatch_backward}},
    };
    if (cached_plan) {
        kinds.push_back({"dispatch", false, true, {Region::dispatch_cached}});
        kinds.push_back({"total", false, true, {Region::dispatch_cached, Region::combine}});
    }
    return kinds;
}

const std::vector<double>& values(const RegionTimes& times, Region region) {
    return times[std::size_t(region)];
}

// The plan cannot be avoided either, but takes memory next to no time.
Region bounded_as(Region region) {
    return region == Region::dispatch_cached ? Region::dispatch : region;
}

double copy_bytes_per_second(const CellResult& result) {
    double least = spread_of(values(result.probes.front(), Region::copy)).median;
    for (const RegionTimes& probe : result.probes)
        least = std::min(least, spread_of(values(probe, Region::copy)).median);
    return least > 0 ? result.copy_bytes / least : 0;
}

// Each round's sum over the regions.
std::vector<double> summed(const RegionTimes& times, std::span<const Region> regions) {
    std::vector<double> sums(values(times, regions.front()).size());
    for (const Region region : regions) std::ranges::transform(sums, values(times, region), sums.begin(), std::plus());
    return sums;
}

class RowMaker {
public:
    RowMaker(const CellContext& context, const CellResult& result)
        : context_(context), result_(result), copy_rate_(copy_bytes_per_second(result)) {
        const RowNumbers& numbers = context.numbers;
        logical_bytes_ = double(std::max(numbers.kept, numbers.served)) * double(context.row_bytes());
        context.world.max(std::span(&logical_bytes_, 1), {"benchmark"});
        common_ = common();
    }

    BenchRow row(std::size_t index, const RowKind& kind) const {
        const DispatcherContender& dispatcher = *result_.dispatchers[index];
        BenchRow row = common_;
        row.dispatcher = row.chosen = dispatcher.name();
        row.combine_order = dispatcher.order();
        row.backward = kind.backward;
        row.cached_plan = kind.cached_plan;
        row.phase = kind.phase;
        row.time = summary_of(summed(result_.times[index], kind.regions));
        add_bounds(row, dispatcher, kind.regions);
        add_counts(row, dispatcher, kind.regions);
        for (const Region region : kind.regions) row.wrong_rows += dispatcher.wrong()[std::size_t(bounded_as(region))];
        return row;
    }

private:
    [[nodiscard]] BenchRow common() const {
        BenchRow row = row_of_cell(
            {context_.cell, context_.workload, context_.options.seed, context_.routed(), context_.options.topology});
        row.exchange = context_.options.exchange;
        if (copy_rate_ > 0) row.copy_gb_per_second = copy_rate_ / 1e9;
        return row;
    }

    void add_bounds(BenchRow& row, const DispatcherContender& dispatcher, std::span<const Region> regions) const {
        std::optional<BoundSeconds> sum = BoundSeconds{};
        std::optional<double> stages = 0, alltoallv = 0;
        for (const Region region : regions) {
            const auto bound = bound_of(dispatcher, region);
            sum = sum && bound ? std::optional(BoundSeconds{sum->median + bound->median, sum->low + bound->low})
                               : std::nullopt;
            const auto parts = stages_of(dispatcher.name(), dispatcher.order(), region, context_.numbers);
            if (!parts || copy_rate_ <= 0) {
                stages = alltoallv = std::nullopt;
                continue;
            }
            double copied = parts->copied_rows * double(context_.row_bytes());
            context_.world.max(std::span(&copied, 1), {"benchmark"});
            const double travelling = spread_of(values(result_.alltoallv, parts->alltoallv)).median;
            if (stages) stages = *stages + copied / copy_rate_ + travelling;
            if (alltoallv) alltoallv = *alltoallv + travelling;
        }
        if (sum) {
            row.bound_seconds = sum->median;
            row.bound_low_seconds = sum->low;
            row.logical_bytes = std::int64_t(logical_bytes_) * std::int64_t(regions.size());
        }
        row.stage_bound_seconds = copies_once(dispatcher.name()) ? row.bound_seconds : stages;
        row.alltoallv_seconds = alltoallv;
    }

    // What memory allows, or the rows that the busiest node's link must carry.
    [[nodiscard]] std::optional<BoundSeconds> bound_of(const DispatcherContender& dispatcher, Region region) const {
        std::optional<BoundSeconds> bound = memory_bound(result_.probes, region);
        if (!bound) return bound;
        const double link = link_seconds(context_, common_.moved->busiest, dispatcher.order(), region);
        return BoundSeconds{std::max(bound->median, link), std::max(bound->low, link)};
    }

    void add_counts(BenchRow& row, const DispatcherContender& dispatcher, std::span<const Region> regions) const {
        std::array<std::int64_t, 2> sums{};
        std::array<double, 3> largest{};
        for (const Region region : regions) {
            const RegionCounts& counts = dispatcher.counts()[std::size_t(region)];
            sums[0] += counts.rows_delivered;
            sums[1] += counts.bytes_copied;
            largest[0] += double(counts.bytes_intra);
            largest[1] += double(counts.bytes_inter);
            largest[2] += double(std::max(counts.link_sent, counts.link_received));
        }
        context_.world.sum(sums, {"benchmark"});
        context_.world.max(largest, {"benchmark"});
        if (!row.bound_seconds) return;  // a part of dispatch, which has them
        if (!row.backward && row.phase != "combine") row.rows_delivered = sums[0];
        row.bytes_copied = sums[1];
        row.wire_bytes_intra = std::int64_t(largest[0]);
        row.wire_bytes_inter = std::int64_t(largest[1]);
        if (!context_.options.link.interface.empty()) row.kernel_link_bytes = std::int64_t(largest[2]);
    }

    const CellContext& context_;
    const CellResult& result_;
    double copy_rate_, logical_bytes_ = 0;
    BenchRow common_;
};

}  // namespace

std::optional<BoundSeconds> memory_bound(std::span<const RegionTimes> probes, Region region) {
    if (region == Region::plan || region == Region::counts) return std::nullopt;
    std::optional<BoundSeconds> bound;
    for (const RegionTimes& probe : probes) {
        const auto& seconds = values(probe, bounded_as(region));
        const double median = spread_of(seconds).median;
        if (!bound || median < bound->median) bound = BoundSeconds{median, median_within(seconds).from};
    }
    return bound;
}

double link_seconds(const CellContext& context, const RowCount& busiest, const std::string& order, Region region) {
    const double rate = context.options.link.bytes_per_second;
    if (rate <= 0) return 0;
    const bool home = region == Region::combine || region == Region::dispatch_backward;
    const std::int64_t carried = !home || order == "node_reduced" ? busiest.x2
                                 : order == "reduced"             ? busiest.x1
                                                                  : busiest.x0;
    return double(carried) * double(context.row_bytes()) / rate;
}

std::vector<BenchRow> rows_of(const CellContext& context, const CellResult& result) {
    const RowMaker maker(context, result);
    std::vector<BenchRow> rows;
    for (std::size_t i = 0; i < result.dispatchers.size(); ++i)
        for (const RowKind& kind : row_kinds(context.options.cached_plan)) rows.push_back(maker.row(i, kind));
    return rows;
}

}  // namespace expar
