#pragma once

#include <filesystem>
#include <optional>

#include "expar/comm/communicator.hpp"
#include "expar/store/hdf5_file.hpp"
#include "expar/train/trainer.hpp"

namespace expar::cli {

/// Writes what every step was trained on, and which experts were chosen, so that another program can repeat it.
///
/// Group step-000001/micro-0 has int32 datasets of the micro-batch of all ranks: tokens [T], targets [T], offsets
/// [sequences + 1] and choices_layer_{l} [T, k] for every layer with experts. Collective; rank 0 writes.
class BatchRecorder : public StepObserver {
public:
    BatchRecorder(const std::filesystem::path& path, const Communicator& world);

    void begin_step(int step) { step_ = step; }
    void after_forward(int micro_batch, const MicroBatch& batch, const TransformerState& state) override;
    void after_backward(int, const Matrix&) override {}
    void before_update(const StepReport&) override {}
    void finish();

private:
    /// All ranks' values, in rank order, `cols` columns of int32.
    [[nodiscard]] std::vector<int> gather(std::span<const int> mine, int cols) const;
    void write(const std::string& name, const std::vector<int>& values, const Hdf5File::Shape& shape);

    const Communicator& world_;
    std::optional<Hdf5File> file_;  // on rank 0
    int step_ = 0;
};

}  // namespace expar::cli
