#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "expar/train/trainer.hpp"

namespace expar::cli {

/// metrics.jsonl: a line of JSON per step, written out at once so that others can follow. Lives on rank 0.
///
/// Keys: step, loss and objective (nats), bits_per_byte, balance_loss, z_loss, learning_rate, gradient_norm,
/// gradient_norm_dense, gradient_norm_router, gradient_norm_experts, clip_factor, tokens, tokens_per_second,
/// communication_share, load_max_over_mean, dropped, choices, seconds, router_entropy (nats, mean over tokens and
/// layers with experts, of the softmax over all experts), rank_load_max_over_mean (rows of the busiest rank's experts
/// over the mean, of the worst layer), phase_seconds {phase: seconds of the rank that spent most there, since the line
/// before} and unix_time (when the line was written).
class MetricsFile {
public:
    /// Goes on behind the line of `step`: later lines of a file that is there, and a torn last one, are cut off first.
    /// Throws UserError.
    MetricsFile(const std::filesystem::path& path, int step);
    void write(const StepReport& report);  ///< throws UserError when the disk is full

private:
    std::filesystem::path path_;
    std::ofstream out_;
};

/// The step of a line of metrics.jsonl; none when it is not such a line, whatever it is.
[[nodiscard]] std::optional<int> step_of_metrics(const std::string& line);

}  // namespace expar::cli
