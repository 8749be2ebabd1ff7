#include "progress.hpp"

#include <gtest/gtest.h>

namespace expar::cli {
namespace {

TEST(Progress, GroupsDigitsByThree) {
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(with_commas(1000), "1,000");
    EXPECT_EQ(with_commas(1234567), "1,234,567");
    EXPECT_EQ(with_commas(-123456), "-123,456");
}

}  // namespace
}  // namespace expar::cli
