#include "expar/bench/dispatch_bench.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "expar/compute/cpu_device.hpp"
#include "support/damaging_dispatcher.hpp"

namespace expar {
namespace {

constexpr DispatchCell cell{.tokens = 12, .hidden = 40, .top_k = 2, .experts = 6, .dtype = "float32", .warm = true};

class DispatchBenchTest : public testing::Test {
protected:
    DispatchBenchOptions options(std::vector<std::string> dispatchers = {"packed"}) const {
        DispatchBenchOptions options{.dispatchers = std::move(dispatchers),
                                     .orders = {"exact", "reduced", "node_reduced"}};
        options.topology = discover_topology(world);
        options.patience = {.seconds = 0, .at_least = 3};
        options.make_device = [] { return make_cpu_device(1); };
        return options;
    }
    [[nodiscard]] std::vector<BenchRow> bench(const DispatchBenchOptions& chosen) const {
        const auto workload = make_workload("uniform", {world.size(), cell.tokens, cell.experts, cell.top_k}, 1);
        return bench_dispatch(cell, *workload, chosen, world);
    }
    static const BenchRow& find(const std::vector<BenchRow>& rows, const std::string& phase, bool backward = false) {
        return *std::ranges::find_if(
            rows, [&](const BenchRow& row) { return row.phase == phase && row.backward == backward; });
    }
    Communicator world{MPI_COMM_WORLD};
};

TEST_F(DispatchBenchTest, EveryDispatcherMovesEveryRowRightly) {
    const auto rows = bench(options(dispatcher_names()));
    EXPECT_EQ(rows.size(), 8 * 3 * dispatcher_names().size());
    for (const BenchRow& row : rows) {
        EXPECT_EQ(row.wrong_rows, 0) << row.dispatcher << " " << row.phase;
        EXPECT_EQ(row.time.iterations, 3);
        EXPECT_EQ(row.bound_seconds.has_value(), row.phase != "plan" && row.phase != "counts");
    }
}

TEST_F(DispatchBenchTest, ADamagedRowIsSeen) {
    auto damaging = options();
    damaging.orders = {"exact"};
    damaging.make_dispatcher = [](std::string_view name, std::string_view exchange, const Communicator& group,
                                  Device& device) -> std::unique_ptr<Dispatcher> {
        return std::make_unique<DamagingDispatcher>(make_dispatcher(name, exchange, group, device), group.rank() == 0);
    };
    const auto rows = bench(damaging);
    EXPECT_EQ(find(rows, "dispatch").wrong_rows, 1);
    EXPECT_EQ(find(rows, "combine").wrong_rows, 1);
    EXPECT_EQ(find(rows, "total").wrong_rows, 2);
    EXPECT_EQ(find(rows, "dispatch", true).wrong_rows, 1);  // the gradient of its weight
}

// Ranks must agree about rows: they decide together how to go on, and only rank 0 writes them.
TEST_F(DispatchBenchTest, RowsAreTheSameOnAllRanks) {
    std::vector<double> values;
    for (const BenchRow& row : bench(options())) {
        values.push_back(row.time.median);
        values.push_back(row.bound_seconds.value_or(0));
        values.push_back(row.stage_bound_seconds.value_or(0));
        values.push_back(double(row.bytes_copied.value_or(0)));
        values.push_back(double(row.logical_bytes));
    }
    const std::vector<double> all = world.all_gather(values, {"test"});
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], all[i % values.size()]) << i;
}

TEST_F(DispatchBenchTest, CountsWhatMoves) {
    const auto rows = bench(options());
    const BenchRow& dispatch = find(rows, "dispatch");
    const auto& moved = dispatch.moved->total;
    EXPECT_LE(moved.y1, moved.y0);
    EXPECT_EQ(dispatch.wire_bytes_inter, 0);
    if (world.size() == 1) EXPECT_EQ(dispatch.wire_bytes_intra, 0);
    // All rows that leave their rank, as the ranks have handed them to MPI with their headers.
    else
        EXPECT_GE(*dispatch.wire_bytes_intra * world.size(), moved.y1 * 40 * 4);
    EXPECT_EQ(*dispatch.rows_delivered, *find(rows, "total").rows_delivered);
    EXPECT_FALSE(find(rows, "combine").rows_delivered.has_value());
    EXPECT_GT(*dispatch.stage_bound_seconds, 0);
}

TEST_F(DispatchBenchTest, ACachedPlanIsARowOfItsOwn) {
    auto cached = options();
    cached.cached_plan = true;
    cached.orders = {"reduced"};
    const auto rows = bench(cached);
    EXPECT_EQ(std::ranges::count_if(rows, [](const BenchRow& row) { return row.cached_plan && !row.backward; }), 2);
}

}  // namespace
}  // namespace expar
