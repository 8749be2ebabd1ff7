#include "expar/verify/verify.hpp"

#include <gtest/gtest.h>

#include <iostream>
#include <set>

#include "expar/compute/cpu_device.hpp"
#include "expar/verify/cases.hpp"

namespace expar {
namespace {

class VerifyTest : public testing::TestWithParam<std::string> {};

TEST_P(VerifyTest, FindsEveryLayoutEqualToOneRankAndToFloat64) {
    const Communicator world(MPI_COMM_WORLD);
    const auto device = make_cpu_device(1);

    const VerifyReport report = verify_training(*device, {.dtype = GetParam(), .dispatchers = {"packed", "window"}},
                                                world, [](const std::string&) {});

    EXPECT_TRUE(report.passed());
    if (world.rank() != 0) return;
    if (!report.passed()) report.print(std::cerr);
    std::set<std::pair<std::string, std::string>> compared;
    for (const VerifyRow& row : report.rows)
        if (row.skipped.empty()) compared.emplace(row.case_name, row.dispatcher);
    // What no layout can express is all that may be missing: six experts are even over one, two and three ranks.
    const std::size_t missing = world.size() == 1 ? 4 : 6 % world.size() == 0 ? 1 : 0;
    EXPECT_EQ(compared.size() + 2 * missing, 2 * verify_cases().size());
}

INSTANTIATE_TEST_SUITE_P(Rows, VerifyTest, testing::Values("float32", "bf16"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace expar
