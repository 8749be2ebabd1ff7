#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "compute_device.hpp"
#include "expar/store/checkpoint.hpp"
#include "expar/train/trainer.hpp"
#include "fields.hpp"

namespace expar::cli {

/// A trainer's blocks with its optimizer's moments, for a checkpoint. The trainer must outlive them.
[[nodiscard]] std::vector<StoredBlock> blocks_of(Trainer& trainer);

/// A trained model, spread over all ranks.
struct LoadedModel {
    RunConfig config;  ///< of the run that made it
    int step = 0;
    std::filesystem::path checkpoint;
    std::unique_ptr<Device> device;
    std::unique_ptr<Trainer> trainer;
};

/// From a run's folder or a checkpoint file, at any number of ranks, which form one EP group. Collective; throws
/// UserError on every rank. `world` must outlive the result.
[[nodiscard]] LoadedModel load_model(const std::filesystem::path& run, const ComputeOptions& compute,
                                     const Communicator& world, std::ostream& notes = std::cout);

}  // namespace expar::cli
