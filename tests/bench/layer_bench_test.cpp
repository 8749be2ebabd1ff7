#include "expar/bench/layer_bench.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "expar/bench/row_places.hpp"
#include "expar/compute/cpu_device.hpp"
#include "support/damaging_dispatcher.hpp"

namespace expar {
namespace {

class LayerBenchTest : public testing::Test {
protected:
    LayerBenchOptions options(std::vector<std::string> dispatchers) const {
        LayerBenchOptions options{.chunks = {1, 2}, .layers = 2, .intermediate = 24};
        options.dispatch.dispatchers = std::move(dispatchers);
        options.dispatch.orders = {"exact", "reduced", "node_reduced"};
        options.dispatch.topology = discover_topology(world);
        options.dispatch.patience = {.seconds = 0, .at_least = 3};
        options.dispatch.make_device = [] { return make_cpu_device(1); };
        return options;
    }
    [[nodiscard]] std::vector<BenchRow> bench(const LayerBenchOptions& chosen, const std::string& dtype,
                                              const std::string& workload = "zipf:1.2") const {
        const DispatchCell cell{.tokens = 12, .hidden = 40, .top_k = 2, .experts = 6, .dtype = dtype};
        const auto made = make_workload(workload, {world.size(), cell.tokens, cell.experts, cell.top_k}, 1);
        return bench_layer(cell, *made, chosen, world);
    }
    Communicator world{MPI_COMM_WORLD};
};

TEST_F(LayerBenchTest, EveryDispatcherComputesWhatOneRankDoes) {
    for (const std::string dtype : {"bf16", "float32"})
        for (const std::string workload : {"zipf:1.2", "zero-rank"}) {
            if (workload == "zero-rank" && world.size() == 1) continue;
            const auto rows = bench(options(dispatcher_names()), dtype, workload);
            EXPECT_EQ(rows.size(), dispatcher_names().size() * 3 * 2 * 10);
            for (const BenchRow& row : rows) {
                EXPECT_EQ(row.wrong_rows, 0) << row.dispatcher << ", " << row.combine_order << ", " << row.phase;
                EXPECT_EQ(row.layers, 2);
                EXPECT_GE(row.time.iterations, 3);
                EXPECT_FALSE(row.hidden_fraction) << "there is one node";
                if (row.phase != "compute") {
                    EXPECT_EQ(row.bound_seconds.has_value(), row.phase == "total") << row.phase;
                }
            }
        }
}

// The layer's own router chooses: what is delivered are the rows of the workload.
TEST_F(LayerBenchTest, TheRouterChoosesAsTheWorkloadSays) {
    LayerBenchOptions chosen = options({"packed"});
    chosen.layers = 1;
    const auto workload = make_workload("hot-expert:0.5", {world.size(), 12, 6, 2}, 1);
    const auto all = workload->routings(0);
    const Placement placement = linear_placement(1, 6, world.size());
    std::int64_t delivered = 0;
    for (int rank = 0; rank < world.size(); ++rank) delivered += row_numbers({all, &placement, 0}, rank).delivered;
    for (const BenchRow& row : bench(chosen, "bf16", "hot-expert:0.5")) {
        if (row.phase == "total" && !row.backward && row.chunks == 1) {
            EXPECT_EQ(row.rows_delivered, delivered);
        }
    }
}

TEST_F(LayerBenchTest, PhasesAreThoseOfTheTotal) {
    const auto rows = bench(options({"packed"}), "bf16");
    const auto median = [&](const char* phase) {
        return std::ranges::find_if(rows, [&](const BenchRow& row) { return row.phase == phase && !row.backward; })
            ->time.median;
    };
    EXPECT_GT(median("compute"), 0);
    EXPECT_LT(median("counts"), median("total"));
    EXPECT_LT(median("compute"), median("total"));
}

TEST_F(LayerBenchTest, ADamagedRowIsSeen) {
    LayerBenchOptions chosen = options({"packed"});
    chosen.dispatch.orders = {"exact"};
    chosen.dispatch.make_dispatcher = [](std::string_view name, std::string_view exchange, const Communicator& group,
                                         Device& device) -> std::unique_ptr<Dispatcher> {
        return std::make_unique<DamagingDispatcher>(make_dispatcher(name, exchange, group, device), group.rank() == 0);
    };
    for (const BenchRow& row : bench(chosen, "float32")) {
        if (row.phase == "total" && row.chunks == 1 && !row.backward) {
            EXPECT_EQ(row.wrong_rows, chosen.layers) << "one row in each layer";
        }
    }
}

TEST_F(LayerBenchTest, RefusesMoreExpertsThanColumns) {
    const DispatchCell cell{.tokens = 4, .hidden = 8, .top_k = 2, .experts = 16};
    const auto workload = make_workload("uniform", {world.size(), cell.tokens, cell.experts, cell.top_k}, 1);
    EXPECT_THROW(static_cast<void>(bench_layer(cell, *workload, options({"packed"}), world)), UserError);
}

}  // namespace
}  // namespace expar
