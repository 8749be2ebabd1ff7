#include "stop_request.hpp"

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <span>

namespace expar::cli {
namespace {

volatile std::sig_atomic_t received = 0;  // a handler can reach nothing but a global
bool from_srun = false;

std::atomic<RankStatus*> noted = nullptr;

void note_and_end(int signal) {
    if (RankStatus* status = noted.load()) status->terminated();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void remember(int signal) {
    received = signal;
}

void remember_when(int signal) {
    struct sigaction action {};
    action.sa_handler = remember;
    action.sa_flags = SA_RESTART;  // no call of MPI or HDF5 is to fail for it
    sigemptyset(&action.sa_mask);
    sigaction(signal, &action, nullptr);
}

}  // namespace

TerminationNote::TerminationNote(RankStatus& status) {
    noted = &status;
    if (!from_srun) std::signal(SIGTERM, note_and_end);
}

TerminationNote::~TerminationNote() {
    if (!from_srun) std::signal(SIGTERM, SIG_DFL);
    noted = nullptr;
}

bool started_by_srun() {
    return from_srun;
}

void catch_stop_signals() {
    // MPI sets variables of its own later.
    from_srun = std::getenv("SLURM_STEP_ID") != nullptr && std::getenv("OMPI_COMM_WORLD_SIZE") == nullptr;
    remember_when(SIGUSR1);
    if (from_srun) remember_when(SIGTERM);
}

std::string agreed_stop(const Communicator& world) {
    int signal = received;
    world.max(std::span(&signal, 1), {"wish to stop"});
    return signal == SIGUSR1 ? "SIGUSR1" : signal == SIGTERM ? "SIGTERM" : "";
}

}  // namespace expar::cli
