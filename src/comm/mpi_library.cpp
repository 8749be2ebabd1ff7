#include "expar/comm/mpi_library.hpp"

#include <mpi.h>

#include "expar/base/error.hpp"

namespace expar {

std::string mpi_library() {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    int version = 0, subversion = 0;
    MPI_Get_version(&version, &subversion);
    const std::string whole(text, std::size_t(length));
    return concat(whole.substr(0, whole.find_first_of(",\n")), ", MPI standard ", version, ".", subversion);
}

}  // namespace expar
