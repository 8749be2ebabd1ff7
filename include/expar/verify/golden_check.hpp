#pragma once

#include "expar/base/device.hpp"
#include "expar/comm/communicator.hpp"
#include "expar/store/golden.hpp"
#include "expar/verify/report.hpp"

namespace expar {

/// Runs the block of a golden file, spread over `world` as one EP group, forward and backward in `dtype`, and compares
/// output, choices, weights, balance loss and every gradient with what transformers computed in float64. Collective;
/// the same report on every rank.
[[nodiscard]] VerifyReport verify_golden(const GoldenBlock& golden, const std::string& name, DType dtype,
                                         Device& device, const Communicator& world);

}  // namespace expar
