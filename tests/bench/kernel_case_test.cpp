#include "expar/bench/kernel_case.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "expar/compute/cpu_device.hpp"
#include "expar/compute/rows.hpp"

namespace expar {
namespace {

// out += in; on `device` alone, one element of one row is wrong by `mistake`.
KernelCase add_case(const Device* device, float mistake) {
    KernelCase kernel;
    kernel.operands = {{Access::read, DType::float32, 3, 5}, {Access::updated, DType::float32, 3, 5}};
    kernel.run = [=](Device& on, Operands& m) {
        on.rows().add(m[0], m[1], on.stream());
        if (&on == device) m[1].view().row<float>(2)[4] += mistake;
    };
    return kernel;
}

class KernelCaseTest : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_cpu_device(2);
    std::unique_ptr<Device> reference = make_reference_device();
};

TEST_F(KernelCaseTest, EveryInputIsReadOnceAndEveryOutputWrittenOnce) {
    const std::vector<Operand> operands = {{Access::read, DType::float32, 3, 5},
                                           {Access::read, DType::float64, 1, 2},
                                           {Access::written, DType::float32, 7, 1},
                                           {Access::updated, DType::float32, 2, 2}};
    const MemoryTraffic traffic = compulsory_traffic(operands);
    EXPECT_EQ(traffic.read, 60 + 16);
    EXPECT_EQ(traffic.written, 28);
    EXPECT_EQ(traffic.updated, 16);
    const Operand weight{
        .access = Access::read, .dtype = DType::float32, .rows = 3, .cols = 5, .weight_for = DType::bfloat16};
    EXPECT_EQ(compulsory_traffic(std::span(&weight, 1)).read, 30);
}

TEST_F(KernelCaseTest, NumbersAreThoseThatAreStored) {
    Matrix rows(*device, DType::bfloat16, 2, 3);
    fill(rows, 1, 1);
    const Matrix wide = in_float64(*reference, rows);
    EXPECT_EQ(relative_error(rows, wide), 0);
    EXPECT_EQ(wide.view().row<double>(1)[2], double(to_float(rows.view().row<bfloat16>(1)[2])));
}

TEST_F(KernelCaseTest, OperandsAreAlwaysTheSameAndRowsDiffer) {
    KernelCase kernel = add_case(nullptr, 0);
    kernel.operands[1].positive = true;
    const auto once = make_operands(kernel, *device), again = make_operands(kernel, *device);
    EXPECT_EQ(relative_error(once[0], again[0]), 0);
    EXPECT_NE(once[0].view().row<float>(0)[0], once[0].view().row<float>(1)[0]);
    for (int r = 0; r < 3; ++r)
        for (const float value : once[1].view().row<float>(r)) EXPECT_GE(value, 0);
}

TEST_F(KernelCaseTest, TheErrorIsOfTheRunOnTheSameData) {
    EXPECT_LT(max_error(add_case(nullptr, 0), *device, *reference), 1e-7);
    const double error = max_error(add_case(device.get(), 0.5F), *device, *reference);
    EXPECT_GT(error, 0.1);
    EXPECT_LT(error, 0.6);
    EXPECT_TRUE(std::isinf(max_error(add_case(device.get(), std::nanf("")), *device, *reference)));
}

TEST_F(KernelCaseTest, WhatIsPreparedIsPreparedBeforeBothRuns) {
    KernelCase kernel = add_case(nullptr, 0);
    kernel.prepare = [](Device&, Operands& m) { m[0].view().row<float>(0)[0] = 1e6F; };
    EXPECT_LT(max_error(kernel, *device, *reference), 1e-7);
    EXPECT_EQ(make_operands(kernel, *device)[0].view().row<float>(0)[0], 1e6F);
}

}  // namespace
}  // namespace expar
