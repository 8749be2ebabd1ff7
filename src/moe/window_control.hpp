#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "expar/comm/window.hpp"
#include "window_pool.hpp"

namespace expar {

/// What all members must agree on before rows move in one movement. Texts would not cross processes.
struct MovementTerms {
    enum class Kind : std::int32_t { dispatch, combine, combine_backward, dispatch_backward };
    Kind kind = Kind::dispatch;
    std::int32_t layer = 0;
    std::uint32_t plan = 0;  ///< its number
    std::int32_t cols = 0;
    DType dtype = DType::float32;

    bool operator==(const MovementTerms&) const = default;
    [[nodiscard]] std::string describe() const;
};
[[nodiscard]] std::string_view name_of(MovementTerms::Kind kind);

/// What a member brings to a movement: its memory, where the others read or write.
struct MovementOffer {
    MovementTerms terms;
    PoolPlace read;            ///< rows that the others read
    PoolPlace stored;          ///< where the others store rows
    std::uint64_t needed = 0;  ///< bytes that the member lacks: the pool has to grow first
};

/// What all members must agree on in a plan, and what each of them has.
struct PlanTerms {
    std::int32_t layer = 0;
    std::int32_t top_k = 0;
    std::int32_t order = 0;
    std::int32_t slots = 0;
    std::uint32_t hash = 0;  ///< hash_of_plan, which knows the placement
    std::uint64_t row_bytes = 0;

    bool operator==(const PlanTerms&) const = default;
    [[nodiscard]] std::string describe() const;
};
struct PlanRecord {
    PlanTerms terms;
    std::uint64_t room = 0;        ///< the largest run of free bytes in the member's part of the pool
    const int* choices = nullptr;  ///< [slots], in the member's own memory
};

/// The flags, offers and counts through which the members of a group tell each other how far they are. No call of MPI
/// on the way but where counts need more memory.
///
/// Movements are numbered 1, 2, … in the order in which all members start them, plans likewise. Each member works on
/// movements in that order, so that one number says which of them it has done.
class WindowControl {
public:
    explicit WindowControl(const Communicator& group);

    /// Movements that are started and not yet over for all members may be so many.
    static constexpr std::uint64_t most_open = 64;

    /// Whether there is room for the counts of so many slots, and making it, which is collective where there is none.
    [[nodiscard]] bool holds(int slots) const { return slots <= slots_; }
    void expect_slots(int slots);
    void publish(std::uint32_t plan, const PlanTerms& terms, std::uint64_t room, std::span<const int> choices);
    [[nodiscard]] bool has_published(int member, std::uint32_t plan) const;
    /// Valid until this member publishes its plan after next.
    [[nodiscard]] PlanRecord record(int member, std::uint32_t plan) const;

    /// Not before all members have done movement number - most_open.
    void offer(std::uint64_t movement, const MovementOffer& offer);
    [[nodiscard]] bool has_offered(int member, std::uint64_t movement) const;
    [[nodiscard]] const MovementOffer& offer_of(int member, std::uint64_t movement) const;
    /// The memory that was needed is there.
    void settle(std::uint64_t movement, PoolPlace read, PoolPlace stored);
    [[nodiscard]] bool has_settled(int member, std::uint64_t movement) const;
    /// This member has read and stored all that it had to.
    void set_done(std::uint64_t movement);
    [[nodiscard]] bool has_done(int member, std::uint64_t movement) const;
    /// The last movement that all members have done.
    [[nodiscard]] std::uint64_t done_by_all() const;

private:
    struct Flags;
    struct Record;
    [[nodiscard]] Flags& flags(int member) const;
    [[nodiscard]] Record& plan_record(int member, std::uint32_t plan) const;

    const Communicator& group_;
    Window flags_;
    std::optional<Window> counts_;
    int slots_ = 0;
};

}  // namespace expar
