#include "expar/base/random.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace expar {
namespace {

using Words = std::array<std::uint32_t, 4>;

// The vectors that the authors of Philox publish with Random123.
TEST(Random, PhiloxGivesThePublishedWords) {
    EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
    const std::uint32_t ones = 0xffffffff;
    EXPECT_EQ(philox({ones, ones, ones, ones}, {ones, ones}), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
    EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, EqualCoordinatesGiveEqualNumbersAndOthersDiffer) {
    const RandomField field(7, Purpose::test, 3, 5);
    EXPECT_EQ(field.bits(11), RandomField(7, Purpose::test, 3, 5).bits(11));
    EXPECT_NE(field.bits(11), field.bits(12));
    EXPECT_NE(field.bits(11), RandomField(8, Purpose::test, 3, 5).bits(11));
    EXPECT_NE(field.bits(11), RandomField(7, Purpose::batches, 3, 5).bits(11));
    EXPECT_NE(field.bits(11), RandomField(7, Purpose::test, 4, 5).bits(11));
    EXPECT_NE(field.bits(11), RandomField(7, Purpose::test, 3, 6).bits(11));
    EXPECT_NE(field.bits(11), RandomField(7ULL | 1ULL << 40, Purpose::test, 3, 5).bits(11));
}

TEST(Random, NumbersHaveTheMomentsOfTheirDistribution) {
    const RandomField field(1, Purpose::test);
    const int count = 100000;
    double uniform = 0, normal = 0, normal_squares = 0;
    for (int i = 0; i < count; ++i) {
        const double u = field.uniform(i);
        ASSERT_GE(u, 0);
        ASSERT_LT(u, 1);
        uniform += u;
        const double z = field.normal(i);
        ASSERT_TRUE(std::isfinite(z));
        normal += z;
        normal_squares += z * z;
        ASSERT_LT(field.below(3, i), 3U);
    }
    const double five_deviations = 5 / std::sqrt(double(count));
    EXPECT_NEAR(uniform / count, 0.5, five_deviations * 0.29);
    EXPECT_NEAR(normal / count, 0, five_deviations);
    EXPECT_NEAR(normal_squares / count, 1, five_deviations * 1.5);
}

}  // namespace
}  // namespace expar
