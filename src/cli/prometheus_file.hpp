#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "expar/train/trainer.hpp"

namespace expar::cli {

/// The state of a run in Prometheus' text format, for a collector of text files (node_exporter's textfile): loss,
/// speed, seconds by phase, loads by expert. Replaced as a whole, at most once a second. Lives on rank 0.
class PrometheusFile {
public:
    /// Throws UserError when `path` cannot be written.
    PrometheusFile(std::filesystem::path path, const ModelOptions& model);
    void show(const StepReport& report, std::int64_t total_tokens);
    /// Writes what has been held back. Throws UserError.
    void finish();
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

private:
    void write();

    std::filesystem::path path_;
    std::vector<int> layers_;  // with experts
    std::string text_;         // not yet written
    std::optional<std::chrono::steady_clock::time_point> written_;
};

/// The text itself. `layers` names the layers of report.routers.
[[nodiscard]] std::string prometheus_text(const StepReport& report, std::int64_t total_tokens,
                                          const std::vector<int>& layers);

}  // namespace expar::cli
