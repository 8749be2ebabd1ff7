#include "threads.hpp"

#include <sched.h>

#include "expar/base/error.hpp"
#include "expar/compute/cpu_device.hpp"

namespace expar {

Threads::Threads(int count, std::span<const int> cpus) : scratch_(std::size_t(count)) {
    if (!cpus.empty() && cpus.size() != scratch_.size())
        throw Error(concat("threads: ", cpus.size(), " CPUs for ", count, " threads, expected one for each"));
    keep_threads_on(cpus);
}

void keep_threads_on(std::span<const int> cpus) {
    if (cpus.empty()) return;
#pragma omp parallel num_threads(int(cpus.size()))
    {
        cpu_set_t place;
        CPU_ZERO(&place);
        CPU_SET(std::size_t(cpus[std::size_t(omp_get_thread_num())]), &place);
        static_cast<void>(sched_setaffinity(0, sizeof place, &place));  // refused: the system chooses
    }
}

void Threads::pause_when_due() const {
    constexpr std::chrono::microseconds interval(200);
    const auto now = std::chrono::steady_clock::now();
    if (now - paused_ < interval) return;
    on_pause_();
    paused_ = std::chrono::steady_clock::now();
}

}  // namespace expar
