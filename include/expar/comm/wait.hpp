#pragma once

#include <mpi.h>

#include <functional>
#include <memory>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/base/error.hpp"
#include "expar/comm/open_stages.hpp"

namespace expar {

class RankStatus;

/// What a rank is doing while it waits, for the line that a hang leaves behind. `phase` must be a literal.
struct Occasion {
    std::string_view phase = "communication";
    int layer = -1;  ///< -1: none
};

/// How long to wait, and what to do meanwhile. Shared by a Communicator and everything made from it.
struct WaitPolicy {
    double timeout_seconds = 600;
    /// For calls without a non-blocking form (split, windows, files): called on another thread with the line that a
    /// TimeoutError would carry, when they outlast the deadline. Expected to end the process; empty: wait on.
    std::function<void(const std::string& line)> on_stuck_call;
    /// Told of waits that last, and asked for the line at the deadline; must outlive all that shares the policy. Null:
    /// the line tells what this rank knows.
    RankStatus* status = nullptr;
    /// Moved on by every wait.
    std::shared_ptr<OpenStages> stages = std::make_shared<OpenStages>();
    /// Between two polls, in place of giving the processor away: for a simulator, whose clock moves in calls alone.
    /// Empty: as fits a processor. The deadline counts real seconds either way.
    std::function<void()> pause = {};
};

/// A wait outlasted its deadline. what() names rank, phase, layer, the peers outstanding and what was expected of them;
/// with a RankStatus, the step and the ranks without a sign of life, too.
class TimeoutError : public Error {
public:
    using Error::Error;
};

/// Throws Error, with MPI's own text, when `code` is not MPI_SUCCESS.
void check_mpi(int code, const char* call, std::source_location where = std::source_location::current());

/// The one place in which this library waits for MPI: polls until every request is done, gives the processor away when
/// that takes long, and throws TimeoutError at the deadline. `outstanding` is called only then.
void wait_all(std::span<MPI_Request> requests, const WaitPolicy& policy, Occasion occasion, int rank,
              const std::function<std::string()>& outstanding);

/// The same wait for what no request of MPI tells: a flag in a window. Polls `done`, and drives MPI now and then, since
/// peers may wait for messages of this rank. `done` may do work and throw.
void wait_until(const std::function<bool()>& done, const WaitPolicy& policy, Occasion occasion, int rank,
                const std::function<std::string()>& outstanding);

/// Rows on their way. Move-only; what it reads and writes must stay untouched until finish() has returned.
class Transfer {
public:
    /// What an algorithm does between start and finish.
    class Work {
    public:
        virtual ~Work() = default;
        /// Moves on without waiting: tests what is under way, posts what comes next. True when all has moved, also when
        /// called again. May not wait.
        virtual bool advance() = 0;
        /// At the start: whether advance() will post anything, so that other waits must call it, too.
        [[nodiscard]] virtual bool has_stages() const { return false; }
        /// The peers still awaited and what is expected of each: "rank 3 (480 rows)".
        [[nodiscard]] virtual std::string outstanding() const = 0;
    };

    Transfer() = default;  ///< nothing to wait for
    Transfer(std::unique_ptr<Work> work, std::shared_ptr<const WaitPolicy> policy, Occasion occasion, int rank);
    Transfer(Transfer&&) noexcept = default;
    Transfer& operator=(Transfer&& other) noexcept;
    /// Finishes, and swallows what goes wrong: call finish(). While an exception unwinds it waits a second at most,
    /// since the peers may never answer.
    ~Transfer();

    /// Shares memory that MPI reads or writes until the rows have moved; after a TimeoutError for ever, since MPI may
    /// then still use it. Without rows on their way, does nothing.
    void keep(std::shared_ptr<const void> memory);
    /// Drives MPI without waiting; true when finish() will not block. Compute may call it between blocks.
    bool progress();
    /// Blocks until the rows have moved. Throws TimeoutError. A second call does nothing.
    void finish();
    /// What is still awaited, as Work tells it; empty: nothing.
    [[nodiscard]] std::string outstanding() const { return work_ ? work_->outstanding() : std::string(); }

private:
    void finish_within(const WaitPolicy& policy);
    void finish_quietly() noexcept;
    void settle(const Work& work);
    void abandon(std::unique_ptr<Work> work) noexcept;

    std::unique_ptr<Work> work_;
    std::vector<std::shared_ptr<const void>> kept_;
    std::shared_ptr<const WaitPolicy> policy_;
    Occasion occasion_;
    int rank_ = 0;
};

/// Watches a call that cannot be polled: while it lives, a thread waits for the deadline of the policy.
class StuckCallWatch {
public:
    StuckCallWatch(const WaitPolicy& policy, Occasion occasion, int rank, const char* call);
    ~StuckCallWatch();
    StuckCallWatch(const StuckCallWatch&) = delete;
    StuckCallWatch& operator=(const StuckCallWatch&) = delete;

private:
    struct State;
    std::unique_ptr<State> state_;  // null when the policy has neither handler nor status
};

}  // namespace expar
