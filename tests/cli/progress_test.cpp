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

TEST(Progress, TellsTimeAsAClockDoes) {
    EXPECT_EQ(clock_text(0.4), "0:00");
    EXPECT_EQ(clock_text(59.6), "1:00");
    EXPECT_EQ(clock_text(125), "2:05");
    EXPECT_EQ(clock_text(3599.6), "1:00:00");
    EXPECT_EQ(clock_text(90061), "25:01:01");
}

TEST(Progress, DrawsABarOfOneWidth) {
    EXPECT_EQ(bar_text(0, 4), "[>   ]");
    EXPECT_EQ(bar_text(0.5, 4), "[==> ]");
    EXPECT_EQ(bar_text(0.99, 4), "[===>]");
    EXPECT_EQ(bar_text(1, 4), "[====]");
    EXPECT_EQ(bar_text(1.5, 4), "[====]");
}

// Ten steps of a second, then very many of three: what is left is judged by those.
TEST(Progress, ExpectsTheStepsToComeToTakeWhatTheLastOnesTook) {
    TimeLeft left;
    for (int step = 0; step < 10; ++step) left.add(1);
    EXPECT_DOUBLE_EQ(left.seconds(7), 7);
    left.add(3);
    EXPECT_GT(left.seconds(1), 1.1);
    for (int step = 0; step < 500; ++step) left.add(3);
    EXPECT_NEAR(left.seconds(10), 30, 0.01);
    EXPECT_EQ(left.seconds(0), 0);
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
