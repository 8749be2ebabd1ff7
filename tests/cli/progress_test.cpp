#include "progress.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

TEST(Progress, GroupsDigitsByThree) {
    EXPECT_EQ(with_commas(0), "0");
    EXPECT_EQ(with_commas(999), "999");
    EXPECT_EQ(with_commas(1000), "1,000");
    EXPECT_EQ(with_commas(1234567), "1,234,567");
    EXPECT_EQ(with_commas(-123456), "-123,456");
}

TEST(MetricsFile, HasALineForEveryStepAsSoonAsItIsDone) {
    const testing_support::TemporaryFolder folder;
    MetricsFile metrics(folder / "metrics.jsonl");
    StepReport report;
    for (report.step = 1; report.step <= 2; ++report.step) {
        report.loss = 1.0 / 3;
        report.norm = {.dense = 3, .router = 0, .experts = 4};
        report.tokens = 10;
        report.seconds = 0.5;
        metrics.write(report);
        std::ifstream file(folder / "metrics.jsonl");
        std::string line, last;
        int lines = 0;
        while (std::getline(file, line)) ++lines, last = line;
        EXPECT_EQ(lines, report.step);
        const auto json = nlohmann::json::parse(last);
        EXPECT_EQ(json.at("step"), report.step);
        EXPECT_EQ(json.at("loss").get<double>(), 1.0 / 3);
        EXPECT_EQ(json.at("gradient_norm"), 5.0);
        EXPECT_EQ(json.at("gradient_norm_experts"), 4.0);
        EXPECT_EQ(json.at("tokens_per_second"), 20.0);
        for (const char* key : {"bits_per_byte", "balance_loss", "z_loss", "learning_rate", "clip_factor",
                                "communication_share", "load_max_over_mean", "dropped", "seconds"})
            EXPECT_TRUE(json.contains(key)) << key;
    }
}

}  // namespace
}  // namespace expar::cli
