#include "expar/base/size_class.hpp"

#include <gtest/gtest.h>

#include <set>

namespace expar {
namespace {

TEST(SizeClass, HoldsWhatIsAskedAndLittleMore) {
    SizeClass before = size_class_of(1);
    for (std::size_t bytes = 1; bytes < 100000; bytes += 1 + bytes / 37) {
        const SizeClass found = size_class_of(bytes);
        EXPECT_GE(found.bytes, bytes);
        EXPECT_LE(double(found.bytes), bytes <= 256 ? 256 : 1.25 * double(bytes)) << bytes;
        EXPECT_GE(found.index, before.index);
        EXPECT_EQ(found.index == before.index, found.bytes == before.bytes) << bytes;
        EXPECT_EQ(size_class_of(found.bytes).index, found.index) << bytes;
        before = found;
    }
    EXPECT_LT(size_class_of(std::size_t{1} << 60).index, SizeClass::count);
}

TEST(PoolChoice, TakesTheNearestLargerBlockElseDropsTheNearestSmaller) {
    const auto choose = [](std::set<std::size_t> free) {
        return choose_block(20, [&](std::size_t index) { return free.contains(index); });
    };
    EXPECT_EQ(choose({19, 22, 21}).take, 21u);
    EXPECT_EQ(choose({20, 21}).take, 20u);
    EXPECT_EQ(choose({18, 19}).drop, 19u);
    EXPECT_EQ(choose({18, 19}).take, PoolChoice::none);
    EXPECT_EQ(choose({2, 30}).take, PoolChoice::none);
    EXPECT_EQ(choose({2, 30}).drop, PoolChoice::none);
    EXPECT_EQ(choose_block(0, [](std::size_t) { return false; }).drop, PoolChoice::none);
}

}  // namespace
}  // namespace expar
