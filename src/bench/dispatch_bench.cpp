#include "expar/bench/dispatch_bench.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "cell_row.hpp"
#include "dispatch_rows.hpp"
#include "expar/train/train_options.hpp"

namespace expar {
namespace {

int slots_for(std::span<Contender* const> contenders, const CellContext& context) {
    double bytes = 0;
    for (const Contender* contender : contenders) bytes += double(contender->slot_bytes());
    return slots_of(context.cell.warm, bytes, context.options.topology, context.world);
}

std::vector<RegionTimes> measure(std::span<Contender* const> contenders, int slots, const CellContext& context) {
    std::vector<Turn> turns;
    for (Contender* contender : contenders)
        turns.push_back({region_count, [contender, slots, slot = 0](std::span<double> seconds) mutable {
                             std::ranges::copy(contender->iterate(slot++ % slots), seconds.begin());
                         }});
    const TogetherOptions options{.patience = context.options.patience,
                                  .warm_up = slots + 2,  // every buffer is touched
                                  .seed = context.options.seed};
    auto values = measure_together(turns, options, context.world);
    std::vector<RegionTimes> times(contenders.size());
    for (std::size_t i = 0; i < values.size(); ++i) times[i / region_count][i % region_count] = std::move(values[i]);
    return times;
}

}  // namespace

CellContext context_of(const DispatchCell& cell, const Workload& workload, const DispatchBenchOptions& options,
                       const Communicator& world) {
    CellContext context{.world = world, .options = options, .cell = cell, .dtype = row_dtype(cell.dtype)};
    context.workload = workload.name();
    context.all = workload.routings(options.step);
    context.placement = linear_placement(1, cell.experts, world.size());
    for (int rank = 0; rank < world.rank(); ++rank) context.first_token += context.all[std::size_t(rank)].tokens;
    context.numbers = row_numbers(context.routed(), world.rank());
    return context;
}

std::vector<BenchRow> bench_dispatch(const DispatchCell& cell, const Workload& workload,
                                     const DispatchBenchOptions& options, const Communicator& world) {
    const CellContext context = context_of(cell, workload, options, world);
    CellResult result;
    ProbeContender ordinary(context, Stores::ordinary), past(context, Stores::past_caches);
    AlltoallvContender alltoallv(context);
    std::vector<Contender*> contenders = {&ordinary, &past, &alltoallv};
    for (const std::string& name : options.dispatchers)
        for (const std::string& order : options.orders) {
            result.dispatchers.push_back(std::make_unique<DispatcherContender>(context, name, order));
            contenders.push_back(result.dispatchers.back().get());
        }
    const int slots = slots_for(contenders, context);
    for (Contender* contender : contenders) contender->prepare(slots);

    for (auto& dispatcher : result.dispatchers) dispatcher->check();
    std::vector<RegionTimes> times = measure(contenders, slots, context);
    for (auto& dispatcher : result.dispatchers) dispatcher->check();

    result.probes = {std::move(times[0]), std::move(times[1])};
    result.alltoallv = std::move(times[2]);
    result.times.assign(std::make_move_iterator(times.begin() + 3), std::make_move_iterator(times.end()));
    result.copy_bytes = double(ordinary.copy_bytes());
    world.max(std::span(&result.copy_bytes, 1), {"benchmark"});
    return rows_of(context, result);
}

}  // namespace expar
