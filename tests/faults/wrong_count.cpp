// A library for LD_PRELOAD that falsifies a count on its way: on rank EXPAR_FAULT_RANK, in the MPI_Ialltoall with the
// number EXPAR_FAULT_AT of those with several numbers for each rank, counted from 1, one more is sent to the next rank
// than the program meant. It says so on standard error, with the seconds since 1970.
#include <dlfcn.h>
#include <mpi.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace {

int number_in(const char* variable) {
    const char* text = std::getenv(variable);
    return text ? std::stoi(text) : -1;
}

void falsify(int* counts, int each, MPI_Comm comm) {
    int rank = 0, ranks = 1;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    const int next = (rank + 1) % ranks;
    ++counts[next * each];
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    std::fprintf(stderr, "injected: a wrong count for rank %d at %.3f\n", next, now.count());
}

}  // namespace

// Looked up when it is first called: the profiling name of a library that is loaded later.
extern "C" int MPI_Ialltoall(const void* send, int send_count, MPI_Datatype send_type, void* receive, int receive_count,
                             MPI_Datatype receive_type, MPI_Comm comm, MPI_Request* request) {
    static const auto original = reinterpret_cast<decltype(&MPI_Ialltoall)>(dlsym(RTLD_NEXT, "MPI_Ialltoall"));
    static int calls = 0;
    int world_rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &world_rank);
    if (send_count > 1 && world_rank == number_in("EXPAR_FAULT_RANK") && ++calls == number_in("EXPAR_FAULT_AT"))
        falsify(static_cast<int*>(const_cast<void*>(send)), send_count, comm);
    return original(send, send_count, send_type, receive, receive_count, receive_type, comm, request);
}
