#pragma once

#include <functional>
#include <string>
#include <vector>

#include "expar/base/device.hpp"
#include "expar/comm/communicator.hpp"
#include "expar/verify/report.hpp"

namespace expar {

/// What verify_training varies beside its cases.
struct VerifyOptions {
    std::string dtype = "float32";                      ///< of rows, a name of row_dtype
    std::vector<std::string> dispatchers = {"packed"};  ///< each of them moves the rows of all cases
};

/// Trains every case for a few steps in every EP × DP layout of `world`, with every dispatcher, and compares each step
/// with two references on rank 0: the same code on one rank with the dispatcher `packed`, and the plain float64 model.
/// Before each step both references take the tested side's weights and moments, so that steps are judged on their own.
///
/// Tolerances are on max|Δ| / max|reference|. Under `exact`, outputs and
/// input gradients must be one rank's bit for bit, and expert gradients at DP = 1. The rest differs by the order of
/// float32 sums alone; the float64 model also by the rounding of bfloat16, where rows are that. Collective; the report
/// is complete on rank 0, and its verdict the same everywhere. `progress` is called on rank 0 for each case and layout.
[[nodiscard]] VerifyReport verify_training(Device& device, const VerifyOptions& options, const Communicator& world,
                                           const std::function<void(const std::string&)>& progress);

}  // namespace expar
