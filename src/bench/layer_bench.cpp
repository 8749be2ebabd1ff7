#include "expar/bench/layer_bench.hpp"

#include <algorithm>
#include <functional>
#include <utility>

#include "cell_row.hpp"
#include "dispatch_rows.hpp"
#include "expar/bench/probe.hpp"
#include "expar/train/train_options.hpp"
#include "layer_stack.hpp"

namespace expar {
namespace {

constexpr std::array<const char*, layer_phase_count> phase_names = {"plan",    "counts",  "dispatch",
                                                                    "compute", "combine", "total"};

Region region_of(LayerPhase phase, bool backward) {
    if (phase == LayerPhase::dispatch) return backward ? Region::dispatch_backward : Region::dispatch;
    return backward ? Region::combine_backward : Region::combine;
}

class Bench {
public:
    Bench(const DispatchCell& cell, const Workload& workload, const LayerBenchOptions& options,
          const Communicator& world)
        : options_(options), world_(world), device_(options.dispatch.make_device()) {
        steps_.assign(std::size_t(options.layers), options.dispatch);
        for (std::size_t layer = 0; layer < steps_.size(); ++layer) {
            steps_[layer].step += layer;
            contexts_.push_back(context_of(cell, workload, steps_[layer], world));
        }
        bytes_ = bytes_of_layers();
    }

    std::vector<BenchRow> run() {
        const LayerSetting setting{world_, options_, contexts_, *device_};
        const LayerRows rows(setting);
        LayerBlocks blocks(setting, linear_placement(options_.layers, first().cell.experts, world_.size()),
                           world_.rank());
        for (const std::string& dispatcher : options_.dispatch.dispatchers)
            for (const std::string& order : options_.dispatch.orders)
                for (const int chunks : options_.chunks)
                    stacks_.push_back(std::make_unique<LayerStack>(setting, rows, blocks,
                                                                   LayerStack::Kind{dispatcher, order, chunks}));
        for (auto& stack : stacks_) stack->check();
        measure();
        for (auto& stack : stacks_) stack->check();
        return rows_of_stacks();
    }

private:
    [[nodiscard]] const CellContext& first() const { return contexts_.front(); }

    // What this rank's layers touch: parameters in float32 and as products read them, and rows.
    [[nodiscard]] double bytes_of_layers() const {
        const double experts = double(first().cell.experts) / world_.size();
        const double weights = 3.0 * first().cell.hidden * options_.intermediate * experts;
        double bytes = 0;
        for (const CellContext& context : contexts_)
            bytes += weights * (4 + double(size_of(context.dtype))) +
                     4 * double(context.row_bytes()) * (context.numbers.tokens + context.numbers.served);
        return bytes;
    }

    [[nodiscard]] bool warm() const {
        double of_all = bytes_;
        world_.sum(std::span(&of_all, 1), {"benchmark"});
        return of_all / options_.dispatch.topology.nodes() < double(cold_bytes());
    }

    // The loops of every layer, one layer after the other.
    [[nodiscard]] Turn probe_turn(Stores stores) {
        std::vector<ProbeContender*> probes;
        double bytes = 0;
        for (const CellContext& context : contexts_) {
            probes.push_back(probes_.emplace_back(std::make_unique<ProbeContender>(context, stores)).get());
            bytes += double(probes.back()->slot_bytes());
        }
        const int slots = slots_of(warm(), bytes, options_.dispatch.topology, world_);
        most_slots_ = std::max(most_slots_, slots);
        for (ProbeContender* probe : probes) probe->prepare(slots);
        return {region_count, [probes, slots, slot = 0](std::span<double> seconds) mutable {
                    std::ranges::fill(seconds, 0.0);
                    for (ProbeContender* probe : probes)
                        std::ranges::transform(seconds, probe->iterate(slot), seconds.begin(), std::plus());
                    slot = (slot + 1) % slots;
                }};
    }

    void measure() {
        DenseProbe dense(*device_, first().dtype);
        std::vector<Turn> turns = {probe_turn(Stores::ordinary), probe_turn(Stores::past_caches)};
        turns.push_back({1, [&](std::span<double> seconds) {
                             world_.barrier({"benchmark"});
                             seconds[0] = dense.run();
                         }});
        for (auto& stack : stacks_)
            turns.push_back({2 * layer_phase_count, [stack = stack.get()](std::span<double> seconds) {
                                 std::ranges::copy(stack->iterate(), seconds.begin());
                             }});
        const TogetherOptions together{
            .patience = options_.dispatch.patience, .warm_up = most_slots_, .seed = options_.dispatch.seed};
        auto values = measure_together(turns, together, world_);
        for (auto& seconds : values)
            for (double& value : seconds) value /= options_.layers;
        for (std::size_t i = 0; i < 2 * std::size_t(region_count); ++i)
            probe_times_[i / region_count][i % region_count] = std::move(values[i]);
        dense_ = std::move(values[2 * region_count]);
        times_.assign(std::make_move_iterator(values.begin() + 2 * region_count + 1),
                      std::make_move_iterator(values.end()));
    }

    [[nodiscard]] const std::vector<double>& times(std::size_t stack, bool backward, LayerPhase phase) const {
        return times_[(2 * stack + std::size_t(backward)) * layer_phase_count + std::size_t(phase)];
    }

    // So many rows' worth of experts' products, at the rate of a dense one.
    [[nodiscard]] BoundSeconds product_bound(double rows, bool backward) const {
        const double flops = 3 * 2.0 * rows * first().cell.hidden * options_.intermediate * (backward ? 2 : 1);
        const double each = flops / DenseProbe::flops * options_.layers;  // dense_ is divided by layers
        return {each * spread_of(dense_).median, each * median_within(dense_).from};
    }

    // The slowest rank may be any: rows that the experts of the idlest serve, and of the busiest, in the mean over
    // layers.
    struct Served {
        double least = 0, most = 0;
    };
    [[nodiscard]] Served served() const {
        Served rows;
        for (const CellContext& context : contexts_) {
            std::array<double, 2> ends{-double(context.numbers.served), double(context.numbers.served)};
            world_.max(ends, {"benchmark"});
            rows.least -= ends[0] / options_.layers;
            rows.most += ends[1] / options_.layers;
        }
        return rows;
    }

    // Ranks run into each other's phases, so that there is none for what travels by itself.
    [[nodiscard]] std::optional<BoundSeconds> bound_of(const LayerStack& stack, LayerPhase phase, bool backward) const {
        const Served rows = served();
        if (phase == LayerPhase::compute && rows.least > 0) return product_bound(rows.least, backward);
        if (phase != LayerPhase::total) return std::nullopt;
        const auto compute = product_bound(rows.most, backward);
        const auto out = bound_of_rows(stack, LayerPhase::dispatch, backward);
        const auto home = bound_of_rows(stack, LayerPhase::combine, backward);
        if (options_.dispatch.topology.nodes() == 1)  // copying is the cores' work, too
            return BoundSeconds{out.median + compute.median + home.median, out.low + compute.low + home.low};
        return BoundSeconds{std::max(compute.median, out.median + home.median),
                            std::max(compute.low, out.low + home.low)};
    }

    [[nodiscard]] BoundSeconds bound_of_rows(const LayerStack& stack, LayerPhase phase, bool backward) const {
        const Region region = region_of(phase, backward);
        const auto bound = memory_bound(probe_times_, region);
        const double link = link_seconds_of(stack, region);
        return BoundSeconds{std::max(bound->median, link), std::max(bound->low, link)};
    }

    [[nodiscard]] double link_seconds_of(const LayerStack& stack, Region region) const {
        double sum = 0;
        for (const CellContext& context : contexts_) {
            const RowCount busiest = moved_rows(context.routed(), options_.dispatch.topology).busiest;
            sum += link_seconds(context, busiest, stack.kind().order, region);
        }
        return sum / options_.layers;
    }

    // Of the stack that differs in nothing but that it has one chunk.
    [[nodiscard]] std::optional<double> hidden_fraction(std::size_t index, bool backward) const {
        const LayerStack::Kind& kind = stacks_[index]->kind();
        if (options_.dispatch.topology.nodes() == 1 || kind.chunks == 1) return std::nullopt;
        const auto serial = std::ranges::find_if(stacks_, [&](const auto& other) {
            return other->kind().dispatcher == kind.dispatcher && other->kind().order == kind.order &&
                   other->kind().chunks == 1;
        });
        if (serial == stacks_.end()) return std::nullopt;
        const auto median = [&](std::size_t of, LayerPhase phase) {
            return spread_of(times(of, backward, phase)).median;
        };
        const auto one = std::size_t(serial - stacks_.begin());
        const double communication = median(one, LayerPhase::dispatch) + median(one, LayerPhase::combine);
        const double shorter = std::min(communication, median(one, LayerPhase::compute));
        if (!(shorter > 0)) return std::nullopt;
        return (median(one, LayerPhase::total) - median(index, LayerPhase::total)) / shorter;
    }

    // Of one layer in the mean.
    void add_counts(BenchRow& row, const LayerStack& stack) const {
        const RegionCounts& counts = stack.counts()[std::size_t(row.backward)];
        std::array<std::int64_t, 2> sums{counts.rows_delivered, counts.bytes_copied};
        std::array<double, 3> largest{double(counts.bytes_intra), double(counts.bytes_inter),
                                      double(std::max(counts.link_sent, counts.link_received))};
        world_.sum(sums, {"benchmark"});
        world_.max(largest, {"benchmark"});
        if (!row.backward) row.rows_delivered = sums[0] / options_.layers;
        row.bytes_copied = sums[1] / options_.layers;
        row.wire_bytes_intra = std::int64_t(largest[0] / options_.layers);
        row.wire_bytes_inter = std::int64_t(largest[1] / options_.layers);
        if (!options_.dispatch.link.interface.empty())
            row.kernel_link_bytes = std::int64_t(largest[2] / options_.layers);
    }

    [[nodiscard]] BenchRow common() const {
        BenchRow row = row_of_cell(
            {first().cell, first().workload, options_.dispatch.seed, first().routed(), options_.dispatch.topology});
        row.exchange = options_.dispatch.exchange;
        row.layers = options_.layers;
        row.warm = warm();
        return row;
    }

    [[nodiscard]] std::vector<BenchRow> rows_of_stacks() const {
        const BenchRow all = common();
        std::vector<BenchRow> rows;
        for (std::size_t i = 0; i < stacks_.size(); ++i)
            for (const bool backward : {false, true})
                for (int p = 0; p < layer_phase_count; ++p) {
                    const auto phase = LayerPhase(p);
                    if (backward && (phase == LayerPhase::plan || phase == LayerPhase::counts)) continue;
                    rows.push_back(row_of(all, i, backward, phase));
                }
        return rows;
    }

    [[nodiscard]] BenchRow row_of(const BenchRow& all, std::size_t index, bool backward, LayerPhase phase) const {
        const LayerStack& stack = *stacks_[index];
        BenchRow row = all;
        row.dispatcher = row.chosen = stack.kind().dispatcher;
        row.combine_order = stack.kind().order;
        row.chunks = stack.kind().chunks;
        row.backward = row.cached_plan = backward;
        row.phase = phase_names[std::size_t(phase)];
        row.time = summary_of(times(index, backward, phase));
        if (const auto bound = bound_of(stack, phase, backward)) {
            row.bound_seconds = bound->median;
            row.bound_low_seconds = bound->low;
        }
        if (phase != LayerPhase::total) return row;
        add_counts(row, stack);
        row.hidden_fraction = hidden_fraction(index, backward);
        row.wrong_rows = stack.wrong()[std::size_t(backward)];
        return row;
    }

    const LayerBenchOptions& options_;
    const Communicator& world_;
    std::unique_ptr<Device> device_;
    std::vector<DispatchBenchOptions> steps_;  // [layers]
    std::vector<CellContext> contexts_;        // [layers]
    double bytes_ = 0;
    std::vector<std::unique_ptr<LayerStack>> stacks_;
    std::vector<std::unique_ptr<ProbeContender>> probes_;
    int most_slots_ = 1;
    std::array<RegionTimes, 2> probe_times_;
    std::vector<double> dense_;  // seconds, divided by layers as all are
    std::vector<std::vector<double>> times_;
};

}  // namespace

std::vector<BenchRow> bench_layer(const DispatchCell& cell, const Workload& workload, const LayerBenchOptions& options,
                                  const Communicator& world) {
    if (cell.experts > cell.hidden)
        throw UserError(concat("bench layer: ", cell.experts, " experts and ", cell.hidden,
                               " columns of a token, expected as many columns at least: they say what is chosen"));
    return Bench(cell, workload, options, world).run();
}

}  // namespace expar
