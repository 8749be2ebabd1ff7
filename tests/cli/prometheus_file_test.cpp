#include "prometheus_file.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::content_of;

StepReport some_report() {
    StepReport report;
    report.step = 7;
    report.loss = 1.25;
    report.tokens = 640;
    report.seconds = 0.5;
    report.phase_seconds[std::size_t(Phase::experts)] = 0.125;
    report.routers.assign(2, RouterStatistics(3));
    report.routers[1].choices = {4, 5, 123456789};
    return report;
}

TEST(Prometheus, WhatIsNoFileIsWrittenThrough) {
    const testing_support::TemporaryFolder folder;
    testing_support::write_text(folder / "target", "");
    std::filesystem::create_symlink(folder / "target", folder / "link");
    PrometheusFile file(folder / "link", ModelOptions{});
    file.show(some_report(), 1);
    EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
    EXPECT_NE(content_of(folder / "target").find("expar_steps_total 7"), std::string::npos);
}

TEST(Prometheus, TextHasTheValuesUnderTheirNames) {
    const std::string text = prometheus_text(some_report(), 123456789012, {1, 3});
    for (const char* line : {"expar_steps_total 7\n", "expar_tokens_total 123456789012\n", "expar_loss_nats 1.25\n",
                             "expar_tokens_per_second 1280\n", "expar_phase_seconds{phase=\"experts\"} 0.125\n",
                             "expar_expert_choices{layer=\"3\",expert=\"2\"} 123456789\n",
                             "# TYPE expar_steps_total counter\n", "# TYPE expar_phase_seconds gauge\n"})
        EXPECT_NE(text.find(line), std::string::npos) << line;
}

// The text exposition format: every sample follows the type of its family, which is declared once.
TEST(Prometheus, TextIsWhatACollectorReads) {
    std::istringstream lines(prometheus_text(some_report(), 1, {0, 1}));
    std::set<std::string> families;
    std::string family;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("# ")) {
            std::istringstream words(line);
            std::string hash, kind;
            words >> hash >> kind >> family;
            if (kind == "HELP") {
                EXPECT_TRUE(families.insert(family).second) << line;
            } else {
                EXPECT_EQ(kind, "TYPE") << line;
            }
            continue;
        }
        // NAME VALUE or NAME{LABEL="VALUE",...} VALUE
        EXPECT_EQ(line.substr(0, line.find_first_of("{ ")), family);
        const auto open = line.find('{'), blank = line.rfind(' ');
        if (open != std::string::npos) {
            EXPECT_EQ(line.substr(blank - 2, 2), "\"}") << line;
        }
        char* end = nullptr;
        std::strtod(line.c_str() + blank + 1, &end);
        EXPECT_TRUE(end != line.c_str() + blank + 1 && *end == '\0') << line;
    }
    EXPECT_GT(families.size(), 10U);
}

TEST(PrometheusFile, IsReplacedAtMostOnceASecondAndAtTheEnd) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "expar.prom";
    ModelOptions model;
    model.layers = 2;
    PrometheusFile file(path, model);
    file.show(some_report(), 1000);
    const std::string first = content_of(path);
    EXPECT_EQ(first, prometheus_text(some_report(), 1000, {0, 1}));
    file.show(some_report(), 2000);
    EXPECT_EQ(content_of(path), first);
    file.finish();
    EXPECT_EQ(content_of(path), prometheus_text(some_report(), 2000, {0, 1}));
    EXPECT_FALSE(std::filesystem::exists(folder / "expar.prom.partial"));
}

TEST(PrometheusFile, ThatCannotBeWrittenIsRefusedBeforeTheRun) {
    EXPECT_EQ(testing_support::complaint_of<UserError>([] { PrometheusFile("/proc/expar.prom", {}); }),
              "/proc/expar.prom.partial: cannot be written: No such file or directory");
}

}  // namespace
}  // namespace expar::cli
