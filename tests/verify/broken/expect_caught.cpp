#include <mpi.h>

#include <algorithm>
#include <iostream>

#include "expar/compute/cpu_device.hpp"
#include "expar/verify/verify.hpp"

// Linked with one broken part in place of the library's own: succeeds when verify fails, and says what it saw.
int main(int argc, char** argv) {
    MPI_Init(&argc, &argv);
    bool caught = false;
    {
        const expar::Communicator world(MPI_COMM_WORLD);
        const auto device = expar::make_cpu_device(1);
        const auto report = expar::verify_training(*device, {}, world, [](const std::string&) {});
        caught = !report.passed();
        if (world.rank() == 0 && caught) {
            const auto row = std::ranges::find_if(report.rows, [](const auto& r) { return !r.passed; });
            std::cout << "caught in " << row->case_name << ", EP=" << row->ep << " DP=" << row->dp << ", step "
                      << row->step << ": " << row->quantity << " against " << row->reference << ", relative error "
                      << row->max_rel_error << " " << row->skipped << std::endl;
        }
    }
    MPI_Finalize();
    return caught ? 0 : 1;
}
