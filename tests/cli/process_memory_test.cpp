#include "process_memory.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace expar::cli {
namespace {

TEST(ProcessMemory, GrowsWithWhatIsTouchedAndRemembersTheMost) {
    const std::int64_t before = resident_bytes();
    ASSERT_GT(before, 0);
    constexpr std::size_t size = std::size_t{64} << 20;
    {
        const std::vector<char> touched(size, 1);
        EXPECT_GE(resident_bytes(), before + std::int64_t(size / 2) * touched[7]);
    }
    EXPECT_LT(resident_bytes(), before + std::int64_t(size / 2));
    EXPECT_GE(peak_resident_bytes(), before + std::int64_t(size / 2));
    EXPECT_GE(memory_limit_bytes(), peak_resident_bytes());
}

}  // namespace
}  // namespace expar::cli
