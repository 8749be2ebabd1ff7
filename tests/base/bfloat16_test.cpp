#include "expar/base/bfloat16.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace expar {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

TEST(Bfloat16, EveryValueComesBack) {
    for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
        const bfloat16 value{std::uint16_t(bits)};
        if (std::isnan(to_float(value)))
            EXPECT_TRUE(std::isnan(to_float(to_bfloat16(to_float(value))))) << bits;
        else
            EXPECT_EQ(to_bfloat16(to_float(value)), value) << bits;
    }
}

TEST(Bfloat16, RoundsToTheNearestAndTiesToEven) {
    const auto rounded = [](float value) { return to_float(to_bfloat16(value)); };
    // Between 1 and 2 neighbours are 2^-7 apart.
    EXPECT_EQ(rounded(1 + 0x1.8p-9F), 1.0F);
    EXPECT_EQ(rounded(1 + 0x1.8p-8F), 1 + 0x1p-7F);
    EXPECT_EQ(rounded(1 + 0x1p-8F), 1.0F);                   // a tie, down to the even one
    EXPECT_EQ(rounded(1 + 0x1p-7F + 0x1p-8F), 1 + 0x1p-6F);  // a tie, up to the even one
    EXPECT_EQ(rounded(std::nextafter(1 + 0x1p-8F, 2.0F)), 1 + 0x1p-7F);
    EXPECT_EQ(rounded(-(1 + 0x1p-7F + 0x1p-8F)), -(1 + 0x1p-6F));
    EXPECT_EQ(rounded(2 - 0x1p-20F), 2.0F);  // the carry reaches the exponent
}

TEST(Bfloat16, NoValueIsFartherThanHalfAStep) {
    for (std::uint32_t bits = 0x3f800000; bits < 0x40000000; bits += 997) {
        const float value = std::bit_cast<float>(bits);
        EXPECT_LE(std::abs(to_float(to_bfloat16(value)) - value), 0x1p-8F) << value;
    }
}

TEST(Bfloat16, EndsAreKept) {
    EXPECT_EQ(to_float(to_bfloat16(infinity)), infinity);
    EXPECT_EQ(to_float(to_bfloat16(-infinity)), -infinity);
    EXPECT_EQ(to_float(to_bfloat16(std::numeric_limits<float>::max())), infinity);  // nearer than any other
    EXPECT_TRUE(std::signbit(to_float(to_bfloat16(-0.0F))));
    // The smallest denormal of bfloat16, half of it (a tie with 0), and a little more than half.
    EXPECT_EQ(to_float(to_bfloat16(0x1p-133F)), 0x1p-133F);
    EXPECT_EQ(to_float(to_bfloat16(0x1p-134F)), 0.0F);
    EXPECT_EQ(to_float(to_bfloat16(0x1.8p-134F)), 0x1p-133F);
}

TEST(Bfloat16, WhatIsNotANumberStaysSo) {
    // Those whose upper half alone would be an infinity, and those whose rounding would overflow.
    for (const std::uint32_t bits : {0x7f800001U, 0xff800001U, 0x7fffffffU, 0xffffffffU, 0x7fc00000U})
        EXPECT_TRUE(std::isnan(to_float(to_bfloat16(std::bit_cast<float>(bits))))) << bits;
}

TEST(Bfloat16, IsReadAsEitherFloatingType) {
    EXPECT_EQ(float(to_bfloat16(-1.5F)), -1.5F);
    EXPECT_EQ(double(to_bfloat16(-1.5F)), -1.5);
}

}  // namespace
}  // namespace expar
