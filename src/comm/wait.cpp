#include "expar/comm/wait.hpp"

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <thread>

#include "drive_mpi.hpp"
#include "expar/comm/rank_status.hpp"

namespace expar {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string name_of(const WaitPolicy& policy, int rank) {
    return policy.status ? policy.status->name(rank) : concat("rank ", rank, ": ");
}

std::string waiting_line(const std::string& name, Occasion occasion, double seconds, std::string_view what) {
    char waited[32];
    std::snprintf(waited, sizeof waited, "%.1f", seconds);
    const std::string layer = occasion.layer < 0 ? "" : concat(", layer ", occasion.layer);
    return concat(name, occasion.phase, layer, ": waited ", waited, " s ", what);
}

std::string last_words(const WaitPolicy& policy, const std::string& line) {
    return policy.status ? policy.status->last_words(line) : line;
}

// Tells the status of this rank about a wait, once it has become long and then from time to time: the peers awaited
// become fewer.
class ToldWait {
public:
    ToldWait(RankStatus* status, Occasion occasion) : status_(status), occasion_(occasion) {}
    ~ToldWait() {
        if (told_) status_->end_wait();
    }
    ToldWait(const ToldWait&) = delete;
    ToldWait& operator=(const ToldWait&) = delete;

    [[nodiscard]] bool due(double waited_seconds) const { return status_ && waited_seconds >= next_seconds_; }
    void tell(double waited_seconds, const std::string& awaited) {
        status_->begin_wait(occasion_.phase, occasion_.layer, awaited);
        told_ = true;
        next_seconds_ = waited_seconds + seconds_between;
    }

private:
    static constexpr double seconds_before_the_first = 0.02;
    static constexpr double seconds_between = 0.25;

    RankStatus* status_;
    Occasion occasion_;
    double next_seconds_ = seconds_before_the_first;
    bool told_ = false;
};

// Spins while an answer may be near, then gives the processor away: where ranks outnumber cores, the peer that we wait
// for may need ours. Sleeps only when a wait has become long, since a rank that sleeps moves no rows of its peers.
class Patience {
public:
    Patience(const WaitPolicy& policy, int spinning_polls)
        : policy_(policy), spinning_polls_(policy.pause ? 0 : spinning_polls) {}

    /// Pauses between two polls; false when the deadline has passed.
    bool pause() {
        if (spins()) {
            ++polls_;
            return true;
        }
        waited_ = seconds_since(start_);
        if (waited_ > policy_.timeout_seconds) return false;
        if (policy_.pause)
            policy_.pause();
        else if (waited_ < seconds_before_sleep)
            sched_yield();
        else
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        return true;
    }
    [[nodiscard]] bool spins() const { return polls_ < spinning_polls_; }
    /// At the last pause.
    [[nodiscard]] double waited_seconds() const { return waited_; }

private:
    static constexpr double seconds_before_sleep = 1.0;

    const WaitPolicy& policy_;
    int spinning_polls_;
    Clock::time_point start_ = Clock::now();
    double waited_ = 0;
    int polls_ = 0;
};

/// Who waits, and how.
struct Waiter {
    const WaitPolicy& policy;
    Occasion occasion;
    int rank;
    int spinning_polls;  // about 10 microseconds
    bool drives_mpi;     // for what drives none itself
};
constexpr int spinning_requests = 50;
constexpr int spinning_flags = 500;

void poll(const std::function<bool()>& done, const Waiter& waiter, const std::function<std::string()>& outstanding) {
    const WaitPolicy& policy = waiter.policy;
    Patience patience(policy, waiter.spinning_polls);
    ToldWait told(policy.status, waiter.occasion);
    while (!done()) {
        policy.stages->advance();
        const bool in_time = patience.pause();
        if (waiter.drives_mpi && !patience.spins()) drive_mpi();
        if (in_time && !told.due(patience.waited_seconds())) continue;
        if (done()) return;
        const std::string awaited = outstanding();
        if (policy.status) told.tell(patience.waited_seconds(), awaited);
        if (in_time) continue;
        throw TimeoutError(last_words(policy, waiting_line(name_of(policy, waiter.rank), waiter.occasion,
                                                           patience.waited_seconds(), concat("for ", awaited))));
    }
}

}  // namespace

void check_mpi(int code, const char* call, std::source_location where) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) length = 0;
    throw Error(concat(call, ": ", std::string_view(text, std::size_t(length)), " (code ", code, ")"), where);
}

// Nobody sends any message to this communicator.
void drive_mpi() {
    int found = 0;
    check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_SELF, &found, MPI_STATUS_IGNORE), "MPI_Iprobe");
}

bool test(MPI_Request& request) {
    if (request == MPI_REQUEST_NULL) return true;
    int done = 0;
    check_mpi(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test");
    return done != 0;
}

// One request after the other: a poll costs the same however many there are, and drives all of them.
void wait_all(std::span<MPI_Request> requests, const WaitPolicy& policy, Occasion occasion, int rank,
              const std::function<std::string()>& outstanding) {
    const auto done = [&requests] {
        while (!requests.empty() && test(requests.front())) requests = requests.subspan(1);
        return requests.empty();
    };
    // All of them are tested, since the list of what is outstanding is read from the requests.
    poll(done, {policy, occasion, rank, spinning_requests, false}, [&requests, &outstanding] {
        for (MPI_Request& request : requests) test(request);
        return outstanding();
    });
}

void wait_until(const std::function<bool()>& done, const WaitPolicy& policy, Occasion occasion, int rank,
                const std::function<std::string()>& outstanding) {
    poll(done, {policy, occasion, rank, spinning_flags, true}, outstanding);
}

Transfer::Transfer(std::unique_ptr<Work> work, std::shared_ptr<const WaitPolicy> policy, Occasion occasion, int rank)
    : work_(std::move(work)), policy_(std::move(policy)), occasion_(occasion), rank_(rank) {
    if (work_ && work_->has_stages())
        policy_->stages->add(work_.get(), [work = work_.get()] { return work->advance(); });
}

Transfer& Transfer::operator=(Transfer&& other) noexcept {
    if (this == &other) return *this;
    finish_quietly();
    work_ = std::move(other.work_);
    kept_ = std::move(other.kept_);
    policy_ = std::move(other.policy_);
    occasion_ = other.occasion_;
    rank_ = other.rank_;
    return *this;
}

Transfer::~Transfer() {
    finish_quietly();
}

void Transfer::keep(std::shared_ptr<const void> memory) {
    if (work_) kept_.push_back(std::move(memory));
}

bool Transfer::progress() {
    if (!work_) return true;
    auto work = std::move(work_);
    try {
        policy_->stages->advance();
        if (work->advance()) {
            settle(*work);
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
        poll([&work] { return work->advance(); }, {policy, occasion_, rank_, spinning_requests, false},
             [&work] { return work->outstanding(); });
        settle(*work);
    } catch (...) {
        abandon(std::move(work));
        throw;
    }
}

void Transfer::finish_quietly() noexcept {
    if (!work_) return;
    try {
        WaitPolicy policy = *policy_;
        policy.status = nullptr;  // it may have been given last words already
        if (std::uncaught_exceptions() > 0) policy.timeout_seconds = std::min(policy.timeout_seconds, 1.0);
        finish_within(policy);
    } catch (...) {  // NOLINT: a destructor has nobody to tell
    }
}

void Transfer::settle(const Work& work) {
    policy_->stages->remove(&work);
    kept_.clear();
}

// MPI may still read counts and write rows that the work owns or shares: they are never freed.
void Transfer::abandon(std::unique_ptr<Work> work) noexcept {
    policy_->stages->remove(work.get());
    (void)work.release();
    (void)new std::vector(std::move(kept_));
}

struct StuckCallWatch::State {
    RankStatus* status;
    std::mutex mutex;
    std::condition_variable over;
    bool returned = false;
    std::thread thread;
};

// The name is taken here: the status is another thread's afterwards.
StuckCallWatch::StuckCallWatch(const WaitPolicy& policy, Occasion occasion, int rank, const char* call) {
    if (!policy.on_stuck_call && !policy.status) return;
    state_ = std::make_unique<State>();
    state_->status = policy.status;
    if (policy.status) policy.status->begin_wait(occasion.phase, occasion.layer, call);
    if (!policy.on_stuck_call) return;
    state_->thread = std::thread([state = state_.get(), policy, occasion, name = name_of(policy, rank), call] {
        std::unique_lock lock(state->mutex);
        const std::chrono::duration<double> timeout(policy.timeout_seconds);
        if (state->over.wait_for(lock, timeout, [state] { return state->returned; })) return;
        lock.unlock();
        policy.on_stuck_call(
            last_words(policy, waiting_line(name, occasion, policy.timeout_seconds, concat("in ", call))));
    });
}

StuckCallWatch::~StuckCallWatch() {
    if (!state_) return;
    {
        const std::lock_guard lock(state_->mutex);
        state_->returned = true;
    }
    state_->over.notify_one();
    if (state_->thread.joinable()) state_->thread.join();
    if (state_->status) state_->status->end_wait();
}

}  // namespace expar
