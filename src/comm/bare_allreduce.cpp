#include "expar/comm/bare_allreduce.hpp"

#include "row_type.hpp"

namespace expar {

void bare_allreduce(const Communicator& comm, std::span<float> values) {
    const int count = int_count(values.size(), "MPI_Allreduce");
    check_mpi(MPI_Allreduce(MPI_IN_PLACE, values.data(), count, MPI_FLOAT, MPI_SUM, comm.mpi()), "MPI_Allreduce");
}

}  // namespace expar
