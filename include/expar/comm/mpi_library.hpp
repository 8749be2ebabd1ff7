#pragma once

#include <string>

namespace expar {

/// "Open MPI v4.1.4, MPI standard 3.1". Local.
[[nodiscard]] std::string mpi_library();

}  // namespace expar
