#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"
#include "window_control.hpp"
#include "window_pool.hpp"

namespace expar {

/// Where the members' rows of one movement begin, as this process sees them; null where a member has none.
struct MovementBases {
    std::vector<void*> read;
    std::vector<void*> stored;
};

/// One movement as this member takes part in it.
struct Movement {
    MovementTerms terms;
    ConstRows given;               ///< what this member brings for the others to read; copied unless it is lent memory
    std::size_t stored_bytes = 0;  ///< that the others will store at this member
    std::function<void(const MovementBases&)> work;  ///< what this member reads from and stores at the others

    // WindowMovements' own from here.
    std::uint64_t number = 0;
    WindowPool::Hold read, stored;
    bool given_is_lent = false;
    bool worked = false;

    [[nodiscard]] Occasion occasion() const { return {name_of(terms.kind), terms.layer}; }
    [[nodiscard]] bool stores() const {
        return terms.kind == MovementTerms::Kind::dispatch || terms.kind == MovementTerms::Kind::combine_backward;
    }
};

/// Carries movements out between members that share memory, in the order in which they start: offers memory, waits for
/// that of the others, does this member's work and says so.
///
/// All waits go on with every open movement, so that members may finish theirs in any order.
class WindowMovements {
public:
    explicit WindowMovements(const Communicator& group)
        : group_(group), control_(group), pool_(group, [this] { return control_.done_by_all(); }) {}

    /// Offers what this member has, and does what can be done without waiting. Waits where memory is busy or too many
    /// movements are open.
    void start(const std::shared_ptr<Movement>& movement);
    /// Goes on without waiting; true when the movement is over for this member: it has read, and all have stored.
    bool progress(const Movement& movement);
    void finish(const Movement& movement);
    /// Lets go of one that nobody will finish. Waits for no more than what it needs of its caller.
    void abandon(const Movement& movement) noexcept;
    /// Waits until `done`, and goes on with what is open meanwhile.
    void wait(const std::function<bool()>& done, const WaitPolicy& policy, Occasion occasion,
              const std::function<std::string()>& outstanding);
    /// Waits until this member has no work left, as a collective call needs.
    void drain();

    [[nodiscard]] WindowControl& control() { return control_; }
    [[nodiscard]] WindowPool& pool() { return pool_; }
    [[nodiscard]] std::int64_t bytes_copied() const { return bytes_copied_; }  ///< into the pool, of rows not lent

private:
    enum class Blocking { no, yes };
    void drive(Blocking blocking);
    [[nodiscard]] bool everybody_is_ready(Movement& movement, Blocking blocking);
    [[nodiscard]] bool is_over(const Movement& movement) const;
    void take_memory(Movement& movement);
    [[nodiscard]] std::size_t missing_bytes(const Movement& movement) const;
    void copy_unlent(Movement& movement);
    [[nodiscard]] PoolPlace place_to_read(const Movement& movement) const;
    void make_room(Movement& movement);
    void expect_same_terms(const Movement& movement) const;
    [[nodiscard]] MovementBases bases_of(const Movement& movement) const;
    [[nodiscard]] std::string outstanding(const Movement& movement) const;
    void expect_whole() const;

    const Communicator& group_;
    WindowControl control_;
    WindowPool pool_;
    std::deque<std::shared_ptr<Movement>> open_;  // without this member's work yet
    std::uint64_t started_ = 0;
    std::uint64_t grown_for_ = 0;  // the last movement that the pool grew for
    std::int64_t bytes_copied_ = 0;
    bool broken_ = false;  // a movement was given up: the members' counts of them differ
};

}  // namespace expar
