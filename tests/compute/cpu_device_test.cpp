#include "expar/compute/cpu_device.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "expar/base/error.hpp"

namespace expar {
namespace {

TEST(CpuDevice, TheFeaturesAreThoseOfARealProcessor) {
    const CpuFeatures features = cpu_features();
    EXPECT_FALSE(features.model.empty());
    EXPECT_TRUE(features.avx2 || !features.avx512);
    EXPECT_TRUE(features.avx512 || !features.avx512_bf16);
    const bool amx = features.avx512_bf16 && features.amx_bf16;
    EXPECT_EQ(instruction_sets().size(),
              std::size_t(features.avx2) + features.avx512 + features.avx512_bf16 + std::size_t(amx));
}

TEST(CpuDevice, IsMadeForEveryInstructionSetOfTheProcessor) {
    for (const InstructionSet set : instruction_sets()) EXPECT_EQ(make_cpu_device(2, set)->name(), "cpu");
}

TEST(CpuDevice, NamesItsInstructionSetsFastestFirst) {
    const auto sets = instruction_sets();
    EXPECT_TRUE(std::ranges::is_sorted(sets, std::greater()));
    for (const InstructionSet set : sets) EXPECT_EQ(instruction_set_named(name_of(set)), set);
    EXPECT_EQ(instruction_set_named("amx"), InstructionSet::amx);
    EXPECT_THROW((void)instruction_set_named("sse"), UserError);
}

TEST(CpuDevice, RefusesAnInstructionSetThatTheProcessorLacks) {
    const auto sets = instruction_sets();
    for (const auto set :
         {InstructionSet::avx2, InstructionSet::avx512, InstructionSet::avx512_bf16, InstructionSet::amx})
        if (std::ranges::find(sets, set) == sets.end()) {
            EXPECT_THROW((void)make_cpu_device(1, set), UserError);
        }
}

TEST(CpuDevice, RefusesNoThreads) {
    EXPECT_THROW((void)make_cpu_device(0), UserError);
}

}  // namespace
}  // namespace expar
