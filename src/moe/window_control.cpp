#include "window_control.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <new>

namespace expar {
namespace {

constexpr std::size_t line = 64;

// A number that one process sets and others read; what was stored before it was set is then there, too. On a line of
// its own.
struct alignas(line) Flag {
    std::uint64_t value = 0;

    void set(std::uint64_t to) { std::atomic_ref(value).store(to, std::memory_order_release); }
    [[nodiscard]] std::uint64_t get() { return std::atomic_ref(value).load(std::memory_order_acquire); }
};

// An offer with the number of its movement: one line, which a reader fetches once.
struct alignas(line) Entry {
    std::uint64_t movement = 0;
    MovementOffer offer;
};

}  // namespace

std::string_view name_of(MovementTerms::Kind kind) {
    constexpr std::array<std::string_view, 4> names = {"dispatch", "combine", "combine backward", "dispatch backward"};
    const auto index = std::size_t(kind);
    return index < names.size() ? names[index] : "?";
}

std::string MovementTerms::describe() const {
    return concat(name_of(kind), " of layer ", layer, ", plan ", plan, ", rows of ", cols, " ", expar::name_of(dtype));
}

std::string PlanTerms::describe() const {
    return concat("layer ", layer, ", top-", top_k, ", order ", order, ", ", slots,
                  " slots, hash of placement and all ", std::hex, hash, std::dec, ", rows of ", row_bytes, " bytes");
}

struct WindowControl::Flags {
    Flag done;
    Flag settled;
    std::array<Entry, most_open> offers;
};

// The counts follow it.
struct WindowControl::Record {
    Flag published;
    PlanTerms terms;
    std::uint64_t room = 0;
};

WindowControl::WindowControl(const Communicator& group) : group_(group), flags_(group, sizeof(Flags)) {
    static_assert(sizeof(Entry) <= 2 * line && std::atomic_ref<std::uint64_t>::is_always_lock_free);
    expect_slots(1024);
}

WindowControl::Flags& WindowControl::flags(int member) const {
    return *std::launder(reinterpret_cast<Flags*>(flags_.part(member)));
}

// Two records take turns: a member that publishes a plan has seen all others publish the one before, and those had read
// the one before that.
WindowControl::Record& WindowControl::plan_record(int member, std::uint32_t plan) const {
    const std::size_t each = counts_->bytes(member) / 2 / line * line;
    return *std::launder(reinterpret_cast<Record*>(counts_->part(member) + plan % 2 * each));
}

// Everybody who comes here has read what the old memory held.
void WindowControl::expect_slots(int slots) {
    if (slots <= slots_) return;
    const std::size_t each = sizeof(Record) + (std::size_t(slots) * sizeof(int) + line - 1) / line * line;
    counts_.emplace(group_, 2 * each);
    slots_ = slots;
}

void WindowControl::publish(std::uint32_t plan, const PlanTerms& terms, std::uint64_t room,
                            std::span<const int> choices) {
    Record& record = plan_record(group_.rank(), plan);
    record.terms = terms;
    record.room = room;
    std::ranges::copy(choices, reinterpret_cast<int*>(&record + 1));
    record.published.set(plan);
}

bool WindowControl::has_published(int member, std::uint32_t plan) const {
    return plan_record(member, plan).published.get() == plan;
}

PlanRecord WindowControl::record(int member, std::uint32_t plan) const {
    const Record& record = plan_record(member, plan);
    return {record.terms, record.room, reinterpret_cast<const int*>(&record + 1)};
}

void WindowControl::offer(std::uint64_t movement, const MovementOffer& offer) {
    Entry& entry = flags(group_.rank()).offers[movement % most_open];
    entry.offer = offer;
    std::atomic_ref(entry.movement).store(movement, std::memory_order_release);
}

bool WindowControl::has_offered(int member, std::uint64_t movement) const {
    Entry& entry = flags(member).offers[movement % most_open];
    return std::atomic_ref(entry.movement).load(std::memory_order_acquire) == movement;
}

const MovementOffer& WindowControl::offer_of(int member, std::uint64_t movement) const {
    return flags(member).offers[movement % most_open].offer;
}

void WindowControl::settle(std::uint64_t movement, PoolPlace read, PoolPlace stored) {
    MovementOffer& offer = flags(group_.rank()).offers[movement % most_open].offer;
    offer.read = read;
    offer.stored = stored;
    flags(group_.rank()).settled.set(movement);
}

bool WindowControl::has_settled(int member, std::uint64_t movement) const {
    return flags(member).settled.get() >= movement;
}

void WindowControl::set_done(std::uint64_t movement) {
    flags(group_.rank()).done.set(movement);
}

bool WindowControl::has_done(int member, std::uint64_t movement) const {
    return flags(member).done.get() >= movement;
}

std::uint64_t WindowControl::done_by_all() const {
    std::uint64_t least = flags(0).done.get();
    for (int m = 1; m < group_.size(); ++m) least = std::min(least, flags(m).done.get());
    return least;
}

}  // namespace expar
