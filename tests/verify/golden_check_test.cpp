#include "expar/verify/golden_check.hpp"

#include <gtest/gtest.h>

#include <iostream>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

class GoldenCheck : public testing::TestWithParam<const char*> {
protected:
    Communicator world{MPI_COMM_WORLD};
    GoldenBlock golden = read_golden(std::string(EXPAR_TEST_DATA) + "/" + GetParam() + ".h5", world);
};

TEST_P(GoldenCheck, FindsTheLayerEqualToTransformers) {
    const auto cpu = make_cpu_device(1);
    const auto reference = make_reference_device();
    for (const auto& [dtype, device] : {std::pair{DType::float64, reference.get()}, {DType::float32, cpu.get()}}) {
        const VerifyReport report = verify_golden(golden, GetParam(), dtype, *device, world);
        EXPECT_TRUE(report.passed());
        EXPECT_GE(report.rows.size(), 10u);
        if (!report.passed() && world.rank() == 0) report.print(std::cerr);
    }
}

TEST_P(GoldenCheck, SeesOneElementThatIsOff) {
    golden.tensors.at("d_experts.1.up.weight").values[3] += 1e-3;
    const auto device = make_reference_device();
    const VerifyReport report = verify_golden(golden, GetParam(), DType::float64, *device, world);
    int failed = 0;
    for (const VerifyRow& row : report.rows) failed += !row.passed;
    EXPECT_EQ(failed, 1);
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenCheck, testing::Values("mixtral", "olmoe", "qwen2_moe", "switch"));

}  // namespace
}  // namespace expar
