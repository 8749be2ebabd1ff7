#include "mpi_environment.hpp"

#include <mpi.h>

#include "expar/comm/wait.hpp"

namespace expar::cli {

MpiEnvironment::MpiEnvironment(int& argc, char**& argv) {
    int provided = MPI_THREAD_SINGLE;
    check_mpi(MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
}

MpiEnvironment::~MpiEnvironment() {
    MPI_Finalize();
}

}  // namespace expar::cli
