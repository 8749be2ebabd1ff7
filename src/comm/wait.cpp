#include "expar/comm/wait.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

namespace expar {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string waiting_line(Occasion occasion, int rank, double seconds, std::string_view what) {
    char waited[32];
    std::snprintf(waited, sizeof waited, "%.1f", seconds);
    const std::string layer = occasion.layer < 0 ? "" : concat(", layer ", occasion.layer);
    return concat("rank ", rank, ": ", occasion.phase, layer, ": waited ", waited, " s ", what);
}

// Spins while an answer may be near, then gives the processor away: where ranks outnumber cores, the peer that we wait
// for may need ours. Sleeps only when a wait has become long, since a rank that sleeps moves no rows of its peers.
class Patience {
public:
    explicit Patience(double timeout_seconds) : timeout_seconds_(timeout_seconds) {}

    /// Pauses between two polls; false when the deadline has passed.
    bool pause() {
        if (polls_++ < spinning_polls) return true;
        const double waited = waited_seconds();
        if (waited > timeout_seconds_) return false;
        if (waited < seconds_before_sleep)
            sched_yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        return true;
    }
    [[nodiscard]] double waited_seconds() const { return seconds_since(start_); }

private:
    static constexpr int spinning_polls = 50;  // about 10 microseconds
    static constexpr double seconds_before_sleep = 1.0;

    double timeout_seconds_;
    Clock::time_point start_ = Clock::now();
    int polls_ = 0;
};

// A request that is done becomes MPI_REQUEST_NULL.
bool test(MPI_Request& request) {
    if (request == MPI_REQUEST_NULL) return true;
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
}

}  // namespace

void check_mpi(int code, const char* call, std::source_location where) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
    throw Error(concat(call, ": ", std::string_view(text, std::size_t(length)), " (code ", code, ")"), where);
}

// One request after the other: a poll costs the same however many there are, and drives all of them.
void wait_all(std::span<MPI_Request> requests, const WaitPolicy& policy, Occasion occasion, int rank,
              const std::function<std::string()>& outstanding) {
    Patience patience(policy.timeout_seconds);
    for (MPI_Request& request : requests) {
        while (!test(request)) {
            if (patience.pause()) continue;
            const auto pending = std::ranges::count_if(requests, [](MPI_Request& each) { return !test(each); });
            if (pending == 0) return;
            throw TimeoutError(waiting_line(occasion, rank, patience.waited_seconds(), concat("for ", outstanding())));
        }
    }
}

Transfer::Transfer(std::unique_ptr<Work> work, std::shared_ptr<const WaitPolicy> policy, Occasion occasion, int rank)
    : work_(std::move(work)), policy_(std::move(policy)), occasion_(occasion), rank_(rank) {}

Transfer& Transfer::operator=(Transfer&& other) noexcept {
    if (this == &other) return *this;
    finish_quietly();
    work_ = std::move(other.work_);
    policy_ = std::move(other.policy_);
    occasion_ = other.occasion_;
    rank_ = other.rank_;
    return *this;
}

Transfer::~Transfer() {
    finish_quietly();
}

bool Transfer::progress() {
    if (!work_) return true;
    auto work = std::move(work_);
    try {
        if (std::ranges::all_of(work->requests(), test)) {
            work->complete();
            return true;
        }
    } catch (...) {
        abandon(std::move(work));
        throw;
    }
    work_ = std::move(work);
    return false;
}

void Transfer::finish() {
    if (work_) finish_within(*policy_);
}

void Transfer::finish_within(const WaitPolicy& policy) {
    auto work = std::move(work_);
    try {
        wait_all(work->requests(), policy, occasion_, rank_, [&work] { return work->outstanding(); });
        work->complete();
    } catch (...) {
        abandon(std::move(work));
        throw;
    }
}

void Transfer::finish_quietly() noexcept {
    if (!work_) return;
    try {
        WaitPolicy policy = *policy_;
        if (std::uncaught_exceptions() > 0) policy.timeout_seconds = std::min(policy.timeout_seconds, 1.0);
        finish_within(policy);
    } catch (...) {  // NOLINT: a destructor has nobody to tell
    }
}

// MPI may still read counts and write rows that the work owns: they are never freed.
void Transfer::abandon(std::unique_ptr<Work> work) noexcept {
    (void)work.release();
}

struct StuckCallWatch::State {
    std::mutex mutex;
    std::condition_variable over;
    bool returned = false;
    std::thread thread;
};

StuckCallWatch::StuckCallWatch(const WaitPolicy& policy, Occasion occasion, int rank, const char* call) {
    if (!policy.on_stuck_call) return;
    state_ = std::make_unique<State>();
    state_->thread = std::thread([state = state_.get(), policy, occasion, rank, call] {
        std::unique_lock lock(state->mutex);
        const std::chrono::duration<double> timeout(policy.timeout_seconds);
        if (state->over.wait_for(lock, timeout, [state] { return state->returned; })) return;
        lock.unlock();
        policy.on_stuck_call(waiting_line(occasion, rank, policy.timeout_seconds, concat("in ", call)));
    });
}

StuckCallWatch::~StuckCallWatch() {
    if (!state_) return;
    {
        const std::lock_guard lock(state_->mutex);
        state_->returned = true;
    }
    state_->over.notify_one();
    state_->thread.join();
}

}  // namespace expar
