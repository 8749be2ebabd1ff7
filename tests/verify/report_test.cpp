#include "expar/verify/report.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "expar/base/error.hpp"

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
    EXPECT_FALSE(compared({1, NAN, 1}, {1, NAN, 1}, 0).passed);
    EXPECT_FALSE(compared({1, INFINITY}, {1, INFINITY}, 0).passed);
    EXPECT_FALSE(compared({1, INFINITY}, {1, INFINITY}, 1e-3).passed);
}

TEST(VerifyReport, FailsWhenNothingWasCompared) {
    EXPECT_FALSE(compared({}, {}, 0).passed);
    EXPECT_FALSE(compared({}, {}, 1e-3).passed);
    EXPECT_FALSE(VerifyReport{}.passed());
    VerifyRow skipped;
    skipped.skipped = "no layout has a place for it";
    skipped.passed = true;
    EXPECT_FALSE(VerifyReport{{skipped}}.passed());
    EXPECT_EQ(VerifyReport{{skipped}}.compared(), 0);
}

TEST(VerifyReport, RefusesToCompareUnequalSizes) {
    EXPECT_THROW((void)compared({1, 2}, {1}, 1), Error);
    EXPECT_THROW((void)compared({}, {1}, 1), Error);
}

}  // namespace
}  // namespace expar
