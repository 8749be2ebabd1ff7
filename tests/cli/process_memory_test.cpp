#include "process_memory.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>

namespace expar::cli {
namespace {

TEST(ProcessMemory, GrowsWithWhatIsTouchedAndRemembersTheMost) {
    const std::int64_t before = resident_bytes();
    ASSERT_GT(before, 0);
    constexpr std::size_t size = std::size_t{64} << 20;
    // Pages of their own: an allocator may keep what it is given back.
    void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(pages, MAP_FAILED);
    std::memset(pages, 1, size);
    EXPECT_GE(resident_bytes(), before + std::int64_t(size / 2));
    munmap(pages, size);
    EXPECT_LT(resident_bytes(), before + std::int64_t(size / 2));
    EXPECT_GE(peak_resident_bytes(), before + std::int64_t(size / 2));
    EXPECT_GE(memory_limit_bytes(), peak_resident_bytes());
}

}  // namespace
}  // namespace expar::cli
