#include "expar/verify/report.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace expar {
namespace {

VerifyRow compared(const std::vector<float>& tested, const std::vector<float>& reference, double tolerance) {
    VerifyRow row;
    row.tolerance = tolerance;
    compare(std::span(tested), std::span(reference), row);
    return row;
}

TEST(VerifyReport, MeasuresTheLargestErrorAgainstTheLargestReference) {
    const VerifyRow row = compared({1, 2, -4}, {1, 2.5, -4}, 0.2);
    EXPECT_DOUBLE_EQ(row.max_abs_error, 0.5);
    EXPECT_DOUBLE_EQ(row.max_rel_error, 0.125);
    EXPECT_FALSE(row.bitwise);
    EXPECT_TRUE(row.passed);
    EXPECT_FALSE(compared({1, 2, -4}, {1, 2.5, -4}, 0.1).passed);
}

TEST(VerifyReport, AsksForEqualBitsWhereNothingIsTolerated) {
    EXPECT_TRUE(compared({1, 0}, {1, 0}, 0).passed);
    EXPECT_FALSE(compared({1, -0.0f}, {1, 0}, 0).passed);
    EXPECT_FALSE(compared({1, std::nextafter(1.0f, 2.0f)}, {1, 1}, 0).passed);
}

TEST(VerifyReport, NeverPassesWhatIsNotANumber) {
    EXPECT_FALSE(compared({1, NAN}, {1, 1}, 1e-3).passed);
    EXPECT_FALSE(compared({1, INFINITY}, {1, 1}, 1e-3).passed);
    EXPECT_FALSE(compared({1, 1}, {1, NAN}, 1e-3).passed);
}

TEST(VerifyReport, FailsWhenNothingWasCompared) {
    EXPECT_FALSE(VerifyReport{}.passed());
}

}  // namespace
}  // namespace expar
