#include "expar/bench/kernel_bench.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

namespace expar {
namespace {

KernelRow half_of_the_bound() {
    KernelRow row;
    row.kernel = "rotary";
    row.shape = "8 x 4";
    row.seconds = {3, 4, 5};
    row.bytes = 6e9;
    row.flops = 8e9;
    row.bound = {1, 2};
    row.within = {4, 4};
    row.best_bound = {1, 1.5};
    row.max_error = 1e-7;
    row.tolerance = 1e-6;
    return row;
}

TEST(KernelBench, EfficiencyIsTheBoundByTheMedian) {
    EXPECT_EQ(half_of_the_bound().efficiency(), 0.5);
}

TEST(KernelBench, FasterThanTheFastestProbesAllowIsAViolation) {
    KernelRow row = half_of_the_bound();
    EXPECT_EQ(row.best_efficiency(), 0.5);
    EXPECT_FALSE(row.bound_violated());
    row.best_bound.memory_seconds = 4.1;
    EXPECT_FALSE(row.bound_violated());
    row.best_bound.memory_seconds = 4.3;
    EXPECT_TRUE(row.bound_violated());
}

TEST(KernelBench, JsonHasTheKeysOfEveryRow) {
    KernelRow row = half_of_the_bound();
    auto json = nlohmann::json::parse(to_json({row}, nullptr));
    const auto& line = json["rows"][0];
    for (const auto* key : {"kernel", "shape", "dtype", "isa", "seconds", "bytes", "flops", "bound_seconds",
                            "efficiency", "max_error", "bound", "gbytes_per_second", "gflops_per_second", "threads"})
        EXPECT_TRUE(line.contains(key)) << key;
    EXPECT_EQ(line["seconds"], 4);
    EXPECT_EQ(line["bound_seconds"], 2);
    EXPECT_EQ(line["bound"], "compute");
    EXPECT_EQ(line["gbytes_per_second"], 1.5);
    EXPECT_EQ(line["gflops_per_second"], 2);
    EXPECT_EQ(line["isa"], "avx2");
    EXPECT_FALSE(line.contains("peer_seconds"));
    row.peer = "other";
    row.peer_seconds = {2, 3, 4};
    json = nlohmann::json::parse(to_json({row}, nullptr));
    EXPECT_EQ(json["rows"][0]["peer_seconds"], 3);
    EXPECT_EQ(json["rows"][0]["peer_ratio"], 0.75);
}

TEST(KernelBench, AWrongKernelIsSaid) {
    KernelRow row = half_of_the_bound();
    std::ostringstream right, wrong;
    print_row(row, right);
    EXPECT_EQ(right.str().find("WRONG"), std::string::npos);
    row.max_error = 1e-3;
    EXPECT_FALSE(row.passed());
    print_row(row, wrong);
    EXPECT_NE(wrong.str().find("WRONG"), std::string::npos);
    row.max_error = std::nan("");
    EXPECT_FALSE(row.passed());
}

TEST(KernelBench, MeasuresWhatTheFilterLeavesOnEverySetAskedFor) {
    const auto sets = instruction_sets();
    std::size_t done = 0;
    const auto rows = bench_kernels(chosen_kernels("rms_norm"), {.sets = sets, .threads = 2, .seconds = 0.01}, nullptr,
                                    [&](const KernelRow&) { ++done; });
    EXPECT_EQ(rows.size() % (2 * sets.size()), 0U);
    EXPECT_EQ(done, rows.size());
    for (const KernelRow& row : rows) {
        EXPECT_TRUE(row.passed()) << row.kernel;
        EXPECT_GT(row.seconds.median, 0);
        EXPECT_GT(row.bound.memory_seconds, 0);
        EXPECT_GT(row.bound.compute_seconds, 0);
        EXPECT_GE(row.repetitions, 5);
    }
    EXPECT_THROW((void)chosen_kernels("nothing of this name"), UserError);
}

}  // namespace
}  // namespace expar
