#include "stop_request.hpp"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <csignal>

namespace expar::cli {
namespace {

// One test, since what has been received stays received.
TEST(StopRequest, IsAgreedByAllRanksWhicheverWasAsked) {
    const Communicator world(MPI_COMM_WORLD);
    ::setenv("OMPI_COMM_WORLD_SIZE", "4", 1);
    ::setenv("SLURM_STEP_ID", "0", 1);
    catch_stop_signals();
    EXPECT_FALSE(started_by_srun());
    struct sigaction now {};
    sigaction(SIGTERM, nullptr, &now);
    EXPECT_EQ(now.sa_handler, SIG_DFL) << "mpirun could not end its ranks in time";

    EXPECT_EQ(agreed_stop(world), "");
    const bool asked = world.rank() == world.size() - 1;
    EXPECT_EQ(asked ? std::raise(SIGUSR1) : 0, 0);
    EXPECT_EQ(agreed_stop(world), "SIGUSR1");
    EXPECT_EQ(agreed_stop(world), "SIGUSR1");

    ::unsetenv("OMPI_COMM_WORLD_SIZE");
    catch_stop_signals();
    EXPECT_TRUE(started_by_srun());
    EXPECT_EQ(world.rank() == 0 ? std::raise(SIGTERM) : 0, 0);
    EXPECT_EQ(agreed_stop(world), "SIGTERM");
}

}  // namespace
}  // namespace expar::cli
