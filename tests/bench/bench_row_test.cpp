#include "expar/bench/bench_row.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "expar/base/error.hpp"

namespace expar {
namespace {

BenchRow measured(double median, double low, double high) {
    BenchRow row;
    row.time = {.iterations = 9, .median = median, .p90 = high, .p99 = high, .within = {low, high}};
    return row;
}

// The contract of the files: scripts and users read these keys, in this order; what is new comes behind them.
TEST(BenchRow, HasEveryKeyInItsOrder) {
    const std::vector<std::string> keys = {"workload",
                                           "seed",
                                           "hash",
                                           "tokens",
                                           "hidden",
                                           "top_k",
                                           "experts",
                                           "ranks",
                                           "nodes",
                                           "layers",
                                           "chunks",
                                           "dtype",
                                           "dispatcher",
                                           "exchange",
                                           "chosen",
                                           "combine_order",
                                           "direction",
                                           "cached_plan",
                                           "cache",
                                           "phase",
                                           "iterations",
                                           "median_seconds",
                                           "ci_low_seconds",
                                           "ci_high_seconds",
                                           "p90_seconds",
                                           "p99_seconds",
                                           "rows_delivered",
                                           "bytes_copied",
                                           "wire_bytes_intra",
                                           "wire_bytes_inter",
                                           "kernel_link_bytes",
                                           "x0",
                                           "x1",
                                           "x2",
                                           "y0",
                                           "y1",
                                           "x0_busiest",
                                           "x1_busiest",
                                           "x2_busiest",
                                           "y0_busiest",
                                           "y1_busiest",
                                           "skew.rank_max_over_mean",
                                           "skew.expert_max_over_mean",
                                           "skew.rank_gini",
                                           "skew.expert_gini",
                                           "skew.zero_fraction",
                                           "bound_seconds",
                                           "stage_bound_seconds",
                                           "predicted_seconds",
                                           "efficiency",
                                           "bound_violated",
                                           "hidden_fraction",
                                           "wrong_rows"};
    const Cells cells = BenchRow{}.cells();
    ASSERT_GT(cells.size(), keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(cells[i].key, keys[i]) << i;
}

TEST(BenchRow, EfficiencyIsTheBoundInTheMedian) {
    BenchRow row = measured(2, 1.9, 2.1);
    EXPECT_EQ(row.efficiency(), std::nullopt);
    EXPECT_EQ(row.bound_violated(), std::nullopt);
    row.bound_seconds = 1.5;
    EXPECT_DOUBLE_EQ(*row.efficiency(), 0.75);
    EXPECT_EQ(row.bound_violated(), false);
}

// A median alone proves nothing: the whole interval must be faster than can be, by the lower end of the bound's.
TEST(BenchRow, ABoundIsViolatedBeyondDoubtAlone) {
    BenchRow row = measured(1, 0.9, 1.2);
    row.bound_seconds = 1.25;
    EXPECT_EQ(row.bound_violated(), false);
    row.bound_seconds = 1.27;
    EXPECT_EQ(row.bound_violated(), true);
    row.bound_low_seconds = 1.1;
    EXPECT_EQ(row.bound_violated(), false);
}

TEST(BenchRow, PercentilesAreValuesThatWereSeen) {
    std::vector<double> values(100);
    std::iota(values.rbegin(), values.rend(), 1);
    const TimeSummary time = summary_of(values);
    EXPECT_EQ(time.iterations, 100);
    EXPECT_EQ(time.median, 50.5);
    EXPECT_EQ(time.p90, 90);
    EXPECT_EQ(time.p99, 99);
    EXPECT_EQ(summary_of({3}).p99, 3);
    EXPECT_EQ(summary_of({1, 2, 3}).p90, 3);
}

TEST(BenchRow, BandwidthsAreOfTheMedian) {
    BenchRow row = measured(2, 2, 2);
    EXPECT_EQ(value_of(row.cells(), "wire_gb_per_second"), CellValue());
    row.wire_bytes_intra = 3'000'000'000;
    row.wire_bytes_inter = 1'000'000'000;
    row.logical_bytes = 8'000'000'000;
    EXPECT_EQ(value_of(row.cells(), "wire_gb_per_second"), CellValue(2.0));
    EXPECT_EQ(value_of(row.cells(), "logical_gb_per_second"), CellValue(4.0));
    EXPECT_THROW(static_cast<void>(value_of(row.cells(), "nonsense")), Error);
}

// As nccl-tests: 4 ranks send 2 · 3/4 of the vector each.
TEST(AllreduceRow, BusBandwidthDoesNotDependOnTheRanks) {
    AllreduceRow row{.bytes = 1'000'000'000, .algorithm = "ring"};
    row.ranks = 4;
    row.time.median = 0.5;
    row.bound_seconds = 0.25;
    EXPECT_DOUBLE_EQ(row.bus_gb_per_second(), 3);
    EXPECT_EQ(value_of(row.cells(), "efficiency"), CellValue(0.5));
}

TEST(ProbeRow, SaysWhatItDoesNotKnow) {
    ProbeRow row{.pattern = "barrier"};
    row.alpha_seconds = 1e-6;
    const Cells cells = row.cells();
    EXPECT_EQ(value_of(cells, "pattern"), CellValue(std::string("barrier")));
    EXPECT_EQ(value_of(cells, "gb_per_second"), CellValue());
    EXPECT_EQ(value_of(cells, "alpha_seconds"), CellValue(1e-6));
}

}  // namespace
}  // namespace expar
