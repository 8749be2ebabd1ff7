#include "threads.hpp"

#include <sched.h>

namespace expar {

Threads::Threads(int count, std::span<const int> cpus) : scratch_(std::size_t(count)) {
    if (cpus.empty()) return;
#pragma omp parallel num_threads(count)
    {
        cpu_set_t place;
        CPU_ZERO(&place);
        CPU_SET(std::size_t(cpus[std::size_t(omp_get_thread_num())]), &place);
        static_cast<void>(sched_setaffinity(0, sizeof place, &place));  // refused: the system chooses
    }
}

}  // namespace expar
