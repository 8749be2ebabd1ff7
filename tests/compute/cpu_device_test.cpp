#include "expar/compute/cpu_device.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"

namespace expar {
namespace {

TEST(CpuDevice, TheFeaturesAreThoseOfARealProcessor) {
    const CpuFeatures features = cpu_features();
    EXPECT_FALSE(features.model.empty());
    EXPECT_TRUE(features.avx2 || !features.avx512);
    EXPECT_TRUE(features.avx512 || !features.avx512_bf16);
    EXPECT_EQ(instruction_sets().size(), std::size_t(features.avx2) + std::size_t(features.avx512));
}

TEST(CpuDevice, IsMadeForEveryInstructionSetOfTheProcessor) {
    for (const InstructionSet set : instruction_sets()) EXPECT_EQ(make_cpu_device(2, set)->name(), "cpu");
}

TEST(CpuDevice, RefusesNoThreads) {
    EXPECT_THROW((void)make_cpu_device(0), UserError);
}

}  // namespace
}  // namespace expar
