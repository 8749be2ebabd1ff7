#pragma once

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace expar {

/// Memory that a task may scribble on, aligned to 64 bytes; kept from call to call, so that no page is touched for the
/// first time twice.
class Scratch {
public:
    [[nodiscard]] float* floats(std::size_t count) {
        if (count > count_) {
            memory_.reset(static_cast<float*>(::operator new(count * sizeof(float), alignment)));
            count_ = count;
        }
        return memory_.get();
    }

private:
    static constexpr std::align_val_t alignment{64};
    struct Delete {
        void operator()(float* memory) const { ::operator delete(memory, alignment); }
    };

    std::unique_ptr<float, Delete> memory_;
    std::size_t count_ = 0;
};

/// The threads of a device. What a task computes must not depend on which thread runs it, nor on how many there are.
class Threads {
public:
    /// `cpus`: one for each thread to stay on, or none.
    explicit Threads(int count, std::span<const int> cpus = {});

    [[nodiscard]] int count() const { return int(scratch_.size()); }

    /// Calls work(i, scratch) for every i in 0 … tasks, in any order. Work must not throw.
    template <class Work>
    void for_each_task(long tasks, Work work) const {
        if (count() == 1 || tasks <= 1) {
            for (long i = 0; i < tasks; ++i) {
                work(i, scratch_.front());
                pause();
            }
            return;
        }
        // Always all of them: OpenMP ends the threads that a smaller team leaves over, and their places with them.
#pragma omp parallel for schedule(dynamic) num_threads(count())
        for (long i = 0; i < tasks; ++i) work(i, scratch_[std::size_t(omp_get_thread_num())]);
        pause();  // here alone: nothing may throw inside
    }

    /// Calls work(first, last) for consecutive ranges of 0 … items, one per thread, of `grain` items or more.
    template <class Work>
    void for_each_range(long items, long grain, Work work) const {
        const long ranges = std::clamp<long>(items / std::max<long>(grain, 1), 1, count());
        for_each_task(ranges, [&](long i, Scratch&) { work(items * i / ranges, items * (i + 1) / ranges); });
    }

    /// See Pausing.
    std::function<void()> on_pause(std::function<void()> call) {
        return std::exchange(on_pause_, std::move(call));
    }

private:
    void pause() const {
        if (on_pause_) pause_when_due();
    }
    void pause_when_due() const;

    std::function<void()> on_pause_;
    mutable std::chrono::steady_clock::time_point paused_;
    mutable std::vector<Scratch> scratch_;  // one per thread; one thread at a time drives a device
};

}  // namespace expar
