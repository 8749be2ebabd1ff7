#include "metrics_file.hpp"

#include <gtest/gtest.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::content_of;

TEST(MetricsFile, HasALineForEveryStepAsSoonAsItIsDone) {
    const testing_support::TemporaryFolder folder;
    MetricsFile metrics(folder / "metrics.jsonl", 0);
    StepReport report;
    for (report.step = 1; report.step <= 2; ++report.step) {
        report.loss = 1.0 / 3;
        report.norm = {.dense = 3, .router = 0, .experts = 4};
        report.tokens = 10;
        report.seconds = 0.5;
        report.router_entropy = 1.5;
        report.phase_seconds[std::size_t(Phase::experts_backward)] = 0.25;
        metrics.write(report);
        const std::string text = content_of(folder / "metrics.jsonl");
        EXPECT_EQ(std::ranges::count(text, '\n'), report.step);
        const auto json = nlohmann::json::parse(text.substr(text.rfind('\n', text.size() - 2) + 1));
        EXPECT_EQ(json.at("step"), report.step);
        EXPECT_EQ(json.at("loss").get<double>(), 1.0 / 3);
        EXPECT_EQ(json.at("gradient_norm"), 5.0);
        EXPECT_EQ(json.at("gradient_norm_experts"), 4.0);
        EXPECT_EQ(json.at("tokens_per_second"), 20.0);
        EXPECT_EQ(json.at("router_entropy"), 1.5);
        EXPECT_EQ(json.at("phase_seconds"), nlohmann::json({{"experts_backward", 0.25}}));
        EXPECT_GT(json.at("unix_time").get<double>(), 1.7e9);
        for (const char* key :
             {"bits_per_byte", "balance_loss", "z_loss", "learning_rate", "clip_factor", "communication_share",
              "load_max_over_mean", "rank_load_max_over_mean", "dropped", "seconds"})
            EXPECT_TRUE(json.contains(key)) << key;
    }
}

// The run was killed while it wrote the line of step 5, and goes on from the checkpoint of step 3.
TEST(MetricsFile, OfARunThatGoesOnLosesWhatIsBehindItsCheckpoint) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "metrics.jsonl";
    const std::string kept = "{\"step\":1}\n{\"step\":2,\"loss\":1}\n{\"step\":3}\n";
    testing_support::write_text(path, kept + "{\"step\":4}\n{\"step\":5,\"lo");
    StepReport report;
    report.step = 4;
    report.seconds = 1;
    MetricsFile(path, 3).write(report);
    const std::string text = content_of(path);
    EXPECT_EQ(text.substr(0, kept.size()), kept);
    EXPECT_EQ(std::ranges::count(text, '\n'), 4);
    EXPECT_EQ(step_of_metrics(text.substr(kept.size())), 4);
    EXPECT_FALSE(std::filesystem::exists(folder / "metrics.jsonl.partial"));
}

// Without its end a line may be half of another number.
TEST(MetricsFile, ALastLineWithoutItsEndIsTorn) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "metrics.jsonl";
    testing_support::write_text(path, "{\"step\":1}\n{\"step\":2}");
    const MetricsFile metrics(path, 9);
    EXPECT_EQ(content_of(path), "{\"step\":1}\n");
}

TEST(MetricsFile, ThatCannotBeReadIsLeftAsItIs) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "metrics.jsonl";
    std::filesystem::create_symlink("metrics.jsonl", path);  // to itself
    EXPECT_EQ(testing_support::complaint_of<UserError>([&] { MetricsFile(path, 3); }),
              path.string() + ": cannot be read");
    EXPECT_TRUE(std::filesystem::is_symlink(path));
}

TEST(MetricsFile, WhatIsNoLineOfItHasNoStep) {
    EXPECT_EQ(step_of_metrics("{\"step\": 7, \"loss\": null}"), 7);
    for (const char* line : {"", "7", "{}", "[{\"step\":1}]", "{\"step\":\"1\"}", "{\"step\":-1}", "{\"step\":1.5}",
                             "{\"step\":99999999999}", "{\"step\":1", "\xff\xfe"})
        EXPECT_EQ(step_of_metrics(line), std::nullopt) << line;
    EXPECT_EQ(step_of_metrics(std::string(100'000, '[')), std::nullopt);
}

TEST(MetricsFile, ThatCannotBeWrittenIsNamed) {
    const auto complaint = testing_support::complaint_of<UserError>([] { MetricsFile("/nowhere/metrics.jsonl", 0); });
    EXPECT_EQ(complaint, "/nowhere/metrics.jsonl: cannot be written");
    MetricsFile full("/dev/full", 0);
    EXPECT_EQ(testing_support::complaint_of<UserError>([&] { full.write({}); }), "/dev/full: writing failed");
}

}  // namespace
}  // namespace expar::cli
