#include "expar/bench/merge_rows.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"

namespace expar {
namespace {

Cells measured(const std::string& dispatcher, double median, std::int64_t wrong = 0) {
    BenchRow row;
    row.dispatcher = dispatcher;
    row.phase = "dispatch";
    row.time = {.iterations = 10, .median = median, .p90 = median, .p99 = median, .within = {median, median}};
    row.bound_seconds = row.bound_low_seconds = 1;
    row.wrong_rows = wrong;
    return row.cells();
}

RowFile file(std::vector<Cells> rows) {
    return {{{"host", std::string("a")}}, std::move(rows)};
}

TEST(MergeRows, LaunchesBecomeOneRow) {
    const std::vector<RowFile> files = {file({measured("packed", 4), measured("window", 2)}),
                                        file({measured("window", 1), measured("packed", 6, 3)}),
                                        file({measured("packed", 5)})};
    const RowFile merged = merge_rows(files);
    ASSERT_EQ(merged.rows.size(), 2U);
    const Cells &packed = merged.rows[0], &window = merged.rows[1];
    EXPECT_EQ(value_of(packed, "dispatcher"), CellValue(std::string("packed")));
    EXPECT_EQ(value_of(packed, "median_seconds"), CellValue(5.0));
    EXPECT_EQ(value_of(packed, "ci_low_seconds"), CellValue(4.0));
    EXPECT_EQ(value_of(packed, "ci_high_seconds"), CellValue(6.0));
    EXPECT_EQ(value_of(packed, "efficiency"), CellValue(0.2));
    EXPECT_EQ(value_of(packed, "iterations"), CellValue(std::int64_t{30}));
    EXPECT_EQ(value_of(packed, "launches"), CellValue(std::int64_t{3}));
    EXPECT_EQ(value_of(packed, "wrong_rows"), CellValue(std::int64_t{3}));
    EXPECT_EQ(value_of(window, "median_seconds"), CellValue(1.5));
    EXPECT_EQ(value_of(window, "launches"), CellValue(std::int64_t{2}));
    EXPECT_EQ(value_of(window, "bound_violated"), CellValue(false));
    EXPECT_EQ(value_of(merged.provenance, "host"), CellValue(std::string("a")));
}

TEST(MergeRows, OneLaunchStaysAsItIs) {
    const std::vector<RowFile> files = {file({measured("packed", 4)})};
    EXPECT_EQ(json_of_rows({}, merge_rows(files).rows), json_of_rows({}, files.front().rows));
    EXPECT_TRUE(merge_rows({}).rows.empty());
}

TEST(MergeRows, OtherRowsAreRefused) {
    const std::vector<RowFile> files = {file({measured("packed", 4)}), file({ProbeRow{.pattern = "copy"}.cells()})};
    EXPECT_THROW(static_cast<void>(merge_rows(files)), UserError);
}

}  // namespace
}  // namespace expar
