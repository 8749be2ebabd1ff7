#include <expar/comm/communicator.hpp>
#include <iostream>

int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    {
        const expar::Communicator world(MPI_COMM_WORLD);  // gone before MPI_Finalize
        std::cout << "rank " << world.rank() << " of " << world.size() << '\n';
    }
    MPI_Finalize();
}
