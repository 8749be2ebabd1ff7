#pragma once

#include <mpi.h>

namespace expar {

/// True when the request is done; it is MPI_REQUEST_NULL from then on.
bool test(MPI_Request& request);

/// Messages of peers go on, for a rank that waits for none.
void drive_mpi();

}  // namespace expar
