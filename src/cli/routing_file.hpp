#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "expar/store/hdf5_series.hpp"
#include "expar/train/trainer.hpp"

namespace expar::cli {

/// routing.h5: which experts were chosen, by layer and step. Lives on rank 0.
///
/// Root attributes format "expar-routing-1", experts (E) and top_k. `layer` int32 [n] are the layers with experts. A
/// row for each step: step int32 [S], tokens int64 [S], loads int32 [S, n, E] (choices of all ranks and micro-batches,
/// before capacity), dropped int32 [S, n], entropy float32 [S, n] (nats, mean over tokens, of the softmax over all
/// experts). Readers may follow a run, and read what a killed one has left: h5py.File(path, "r", swmr=True).
class RoutingFile {
public:
    /// Goes on behind the row of `step`: later rows of a file that is there are cut off. A file that is damaged is set
    /// aside under another name. Throws UserError.
    RoutingFile(const std::filesystem::path& path, const ModelOptions& model, int step);

    /// Every 64 steps, and at the first step after 10 seconds, what was added is written out.
    void add(const StepReport& report);
    void flush();
    void close();

    /// What there is to say about the file that was there; "" mostly.
    [[nodiscard]] const std::string& notice() const { return notice_; }

private:
    std::string notice_;
    std::optional<Hdf5Series> series_;
    std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

/// What routing.h5 of this model looks like; it has no column without layers with experts.
[[nodiscard]] SeriesLayout routing_layout(const ModelOptions& model);

}  // namespace expar::cli
