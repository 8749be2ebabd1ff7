#include "expar/bench/row_report.hpp"

#include <gtest/gtest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

const Cells provenance = {{"host", std::string("a")}, {"cores", std::int64_t{2}}};

Cells sample(std::int64_t wrong = 0) {
    return {{"name", std::string("say \"x\", y")},
            {"median_seconds", 0.00125},
            {"skew.gini", 0.5},
            {"skew.zero", std::int64_t{0}},
            {"seed", std::uint64_t{1} << 63},
            {"bound_violated", true},
            {"predicted", CellValue()},
            {"wrong_rows", wrong}};
}

using testing_support::content_of;

TEST(RowReport, JsonKeepsOrderTypesAndNests) {
    const std::vector<Cells> rows = {sample(), sample(3)};
    const auto json = nlohmann::json::parse(json_of_rows(provenance, rows));
    EXPECT_EQ(json["provenance"]["cores"], 2);
    ASSERT_EQ(json["rows"].size(), 2U);
    EXPECT_EQ(json["rows"][0]["name"], "say \"x\", y");
    EXPECT_EQ(json["rows"][0]["skew"]["gini"], 0.5);
    EXPECT_EQ(json["rows"][0]["seed"], std::uint64_t{1} << 63);
    EXPECT_TRUE(json["rows"][0]["predicted"].is_null());
    EXPECT_EQ(json["rows"][1]["wrong_rows"], 3);
    EXPECT_TRUE(nlohmann::json::parse(json_of_rows(provenance, {}))["rows"].empty());
}

TEST(RowReport, JsonIsReadAsItWasWritten) {
    const std::vector<Cells> rows = {sample(), sample(3)};
    const std::string text = json_of_rows(provenance, rows);
    const RowFile file = rows_of_json(text, "x.json");
    EXPECT_EQ(json_of_rows(file.provenance, file.rows), text);
    EXPECT_EQ(value_of(file.rows[1], "skew.gini"), CellValue(0.5));
    EXPECT_THROW(static_cast<void>(rows_of_json("{\"rows\": []}", "x.json")), UserError);
    EXPECT_THROW(static_cast<void>(rows_of_json("nonsense", "x.json")), UserError);
}

TEST(RowReport, CsvQuotesAndLeavesOut) {
    const std::vector<Cells> rows = {sample(2)};
    EXPECT_EQ(csv_of_rows(provenance, rows),
              "# host: a\n# cores: 2\n"
              "name,median_seconds,skew.gini,skew.zero,seed,bound_violated,predicted,wrong_rows\n"
              "\"say \"\"x\"\", y\",0.00125,0.5,0,9223372036854775808,true,,2\n");
}

TEST(RowReport, FilesHoldWholeRowsAtAnyTime) {
    const testing_support::TemporaryFolder folder;
    const auto json = folder / "x.json", csv = folder / "x.csv";
    RowFiles files(provenance, json, csv);
    files.save();
    EXPECT_TRUE(rows_of_json(content_of(json), "x.json").rows.empty());
    files.add(sample());
    files.save();
    EXPECT_EQ(rows_of_json(content_of(json), "x.json").rows.size(), 1U);
    files.add(sample());
    files.finish();
    EXPECT_EQ(rows_of_json(content_of(json), "x.json").rows.size(), 2U);
    EXPECT_EQ(content_of(csv), csv_of_rows(provenance, files.rows()));
    const RowFiles none(provenance, {}, {});
    none.save();
    none.finish();
}

TEST(RowReport, ATableIsAligned) {
    constexpr std::array columns = {Column{"name", "name", -12}, Column{"median_seconds", "ms", 8, Show::milliseconds},
                                    Column{"predicted", "model", 7}};
    EXPECT_EQ(heading_line(columns), "name              ms  model");
    EXPECT_EQ(row_line(columns, sample()), "say \"x\", y      1.25      -  BOUND VIOLATED: faster than can be");
    EXPECT_NE(row_line(columns, sample(3)).find("  WRONG: 3"), std::string::npos);
}

// The columns name keys that the rows have.
TEST(RowReport, EveryColumnIsAKeyOfItsRows) {
    EXPECT_FALSE(row_line(dispatch_columns(), BenchRow{}.cells()).empty());
    EXPECT_FALSE(row_line(layer_columns(), BenchRow{}.cells()).empty());
    EXPECT_FALSE(row_line(probe_columns(), ProbeRow{}.cells()).empty());
    EXPECT_FALSE(row_line(allreduce_columns(), AllreduceRow{}.cells()).empty());
}

}  // namespace
}  // namespace expar
