#include "expar/bench/kernel_cases.hpp"

#include <gtest/gtest.h>

#include <set>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

TEST(KernelCases, EachHasABoundAToleranceAndANameOfItsOwn) {
    std::set<std::string> names;
    for (const DType dtype : kernel_dtypes())
        for (const KernelCase& kernel : kernel_cases(dtype)) {
            EXPECT_GT(kernel.traffic.bytes(), 0) << kernel.kernel;
            EXPECT_GE(kernel.flops, 0) << kernel.kernel;
            EXPECT_GT(kernel.tolerance, 0) << kernel.kernel;
            EXPECT_TRUE(names.insert(concat(kernel.kernel, kernel.shape, int(dtype))).second) << kernel.kernel;
        }
    EXPECT_GT(names.size(), 30U);
}

// The many experts would take a gigabyte for what few of them show.
TEST(KernelCases, OursGiveWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const DType dtype : kernel_dtypes())
        for (const KernelCase& kernel : kernel_cases(dtype)) {
            if (kernel.traffic.bytes() > 2e8) continue;
            const auto device = make_cpu_device(2);
            EXPECT_LE(max_error(kernel, *device, *reference), kernel.tolerance) << kernel.kernel << kernel.shape;
        }
}

}  // namespace
}  // namespace expar
