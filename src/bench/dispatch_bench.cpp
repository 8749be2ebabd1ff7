#include "expar/bench/dispatch_bench.hpp"

#include <algorithm>
#include <numeric>

#include "dispatch_rows.hpp"
#include "expar/base/random.hpp"
#include "expar/bench/probe.hpp"
#include "expar/train/train_options.hpp"

namespace expar {
namespace {

constexpr int most_slots = 512;

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

// So many that a node goes through more than its caches hold before it comes back to the first.
int slots_for(std::span<Contender* const> contenders, const CellContext& context) {
    if (context.cell.warm) return 1;
    double bytes = 0;
    for (const Contender* contender : contenders) bytes += double(contender->slot_bytes());
    context.world.sum(std::span(&bytes, 1), {"benchmark"});
    const double of_node = bytes / context.options.topology.nodes();
    return of_node > 0 ? int(std::clamp(double(cold_bytes()) / of_node + 1, 1.0, double(most_slots))) : 1;
}

// The same on all ranks.
std::vector<std::size_t> shuffled_order(std::size_t count, std::uint64_t seed, int round) {
    std::vector<std::size_t> order(count);
    std::iota(order.begin(), order.end(), std::size_t{0});
    const RandomField random(seed, Purpose::test, 0, std::uint32_t(round));
    for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
    return order;
}

// Every contender takes a turn in every round.
std::vector<RegionTimes> measure(std::span<Contender* const> contenders, int slots, const CellContext& context) {
    const Patience& patience = context.options.patience;
    const int warm_up = slots + 2;  // every buffer is touched
    std::vector<RegionTimes> times(contenders.size());
    std::chrono::steady_clock::time_point begin;
    for (int round = -warm_up; round < patience.at_most; ++round) {
        if (round == 0) begin = std::chrono::steady_clock::now();
        std::vector<double> slowest(contenders.size() * region_count + 1);
        for (const std::size_t i : shuffled_order(contenders.size(), context.options.seed, round + warm_up)) {
            const RegionSeconds seconds = contenders[i]->iterate((round + warm_up) % slots);
            std::ranges::copy(seconds, slowest.begin() + std::ptrdiff_t(i * region_count));
        }
        if (round < 0) continue;
        slowest.back() = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        context.world.max(slowest, {"benchmark"});
        for (std::size_t i = 0; i < slowest.size() - 1; ++i)
            times[i / region_count][i % region_count].push_back(slowest[i]);
        if (round + 1 < patience.at_least) continue;
        const auto known = [&](const RegionTimes& regions) {
            return std::ranges::all_of(regions, [&](const auto& values) { return settled(values, patience); });
        };
        if (slowest.back() >= patience.seconds || std::ranges::all_of(times, known)) break;
    }
    return times;
}

}  // namespace

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
