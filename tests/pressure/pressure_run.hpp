#pragma once

#include <functional>
#include <string>

#include "pressure_case.hpp"
#include "pressure_tools.hpp"

namespace expar {

/// Falsifies a result before it is checked, so that the check can be seen to fail; returns whether it did. Empty: none.
using Falsify = std::function<bool(Rows result)>;

/// Runs a case on all ranks. Returns what came out wrong on this rank, in one line; empty: nothing. Collective.
[[nodiscard]] std::string run_pressure_case(const PressureCase& made, const PressureNumber& number,
                                            PressureTools& tools, const Falsify& falsify = {});

}  // namespace expar
