#include "window_movements.hpp"

#include <algorithm>
#include <cstring>
#include <exception>
#include <span>
#include <utility>

namespace expar {
namespace {

PoolPlace place_of(const WindowPool::Hold& hold) {
    return hold ? hold.region()->place : PoolPlace{};
}

}  // namespace

void WindowMovements::start(const std::shared_ptr<Movement>& movement) {
    expect_whole();
    movement->number = ++started_;
    const Occasion occasion = movement->occasion();
    const std::uint64_t before = started_ - std::min(started_, WindowControl::most_open);
    if (control_.done_by_all() < before)
        wait([&] { return control_.done_by_all() >= before; }, *group_.policy(), occasion,
             [&] { return concat("all ranks to finish movement ", before); });
    take_memory(*movement);
    if (missing_bytes(*movement) > 0 && pool_.waits_for_others())
        wait(
            [&] {
                take_memory(*movement);
                return missing_bytes(*movement) == 0 || !pool_.waits_for_others();
            },
            *group_.policy(), occasion, [] { return "ranks that read memory of this one"; });
    const std::size_t missing = missing_bytes(*movement);
    MovementOffer offer{movement->terms, {}, {}, missing};
    if (missing == 0) {
        copy_unlent(*movement);
        offer.read = place_to_read(*movement);
        offer.stored = place_of(movement->stored);
    }
    control_.offer(movement->number, offer);
    open_.push_back(movement);
    drive(Blocking::no);
}

bool WindowMovements::progress(const Movement& movement) {
    expect_whole();
    drive(Blocking::no);
    return is_over(movement);
}

void WindowMovements::finish(const Movement& movement) {
    wait([&] { return is_over(movement); }, *group_.policy(), movement.occasion(),
         [&] { return outstanding(movement); });
}

// What the others store goes to memory that stays busy until they have.
void WindowMovements::abandon(const Movement& movement) noexcept {
    if (movement.worked || broken_) return;
    try {
        WaitPolicy policy = *group_.policy();
        policy.status = nullptr;  // it may have been given last words already
        if (std::uncaught_exceptions() > 0) policy.timeout_seconds = std::min(policy.timeout_seconds, 1.0);
        wait([&] { return movement.worked; }, policy, movement.occasion(), [&] { return outstanding(movement); });
    } catch (...) {  // NOLINT: a destructor has nobody to tell
        broken_ = true;
        open_.clear();
    }
}

void WindowMovements::wait(const std::function<bool()>& done, const WaitPolicy& policy, Occasion occasion,
                           const std::function<std::string()>& outstanding) {
    expect_whole();
    const auto poll = [&] {
        drive(Blocking::yes);
        return done();
    };
    wait_until(poll, policy, occasion, group_.world_rank(group_.rank()), outstanding);
}

void WindowMovements::drain() {
    if (open_.empty()) return;
    const std::shared_ptr<Movement> last = open_.back();
    wait([&] { return last->worked; }, *group_.policy(), last->occasion(), [&] { return outstanding(*last); });
}

void WindowMovements::drive(Blocking blocking) {
    while (!open_.empty() && everybody_is_ready(*open_.front(), blocking)) {
        const std::shared_ptr<Movement> movement = open_.front();
        expect_same_terms(*movement);
        movement->work(bases_of(*movement));
        movement->worked = true;
        open_.pop_front();
        control_.set_done(movement->number);
    }
}

bool WindowMovements::everybody_is_ready(Movement& movement, Blocking blocking) {
    bool all_have_memory = true;
    for (int m = 0; m < group_.size(); ++m) {
        if (!control_.has_offered(m, movement.number)) return false;
        all_have_memory = all_have_memory && control_.offer_of(m, movement.number).needed == 0;
    }
    if (all_have_memory) return true;
    if (grown_for_ != movement.number) {
        if (blocking == Blocking::no) return false;
        make_room(movement);
    }
    for (int m = 0; m < group_.size(); ++m)
        if (control_.offer_of(m, movement.number).needed > 0 && !control_.has_settled(m, movement.number)) return false;
    return true;
}

bool WindowMovements::is_over(const Movement& movement) const {
    if (!movement.worked) return false;
    if (!movement.stores()) return true;
    for (int m = 0; m < group_.size(); ++m)
        if (!control_.has_done(m, movement.number)) return false;
    return true;
}

// Rows that are lent already are offered where they are.
void WindowMovements::take_memory(Movement& movement) {
    const auto take = [&](WindowPool::Hold& hold, std::size_t bytes) {
        if (hold || bytes == 0) return;
        hold = pool_.reserve(bytes);
        if (hold) hold.region()->busy_until = movement.number;
    };
    const ConstRows& given = movement.given;
    if (!movement.read && given.bytes() > 0 && given.contiguous()) {
        movement.read = pool_.find(given.data(), given.bytes());
        movement.given_is_lent = bool(movement.read);
        if (movement.read) movement.read.region()->busy_until = movement.number;
    }
    take(movement.read, given.bytes());
    take(movement.stored, movement.stored_bytes);
}

std::size_t WindowMovements::missing_bytes(const Movement& movement) const {
    std::size_t bytes = 0;
    if (!movement.read) bytes += movement.given.bytes();
    if (!movement.stored) bytes += movement.stored_bytes;
    return bytes == 0 ? 0 : bytes + 128;  // each region ends on a line
}

void WindowMovements::copy_unlent(Movement& movement) {
    ConstRows& given = movement.given;
    if (!movement.read || movement.given_is_lent) return;
    std::byte* to = pool_.data(movement.read);
    for (int r = 0; r < given.rows(); ++r)
        std::memcpy(to + std::size_t(r) * given.row_bytes(), given.slice(r, 1).data(), given.row_bytes());
    bytes_copied_ += std::int64_t(given.bytes());
    given = ConstRows(to, given.rows(), given.cols(), given.dtype());
}

PoolPlace WindowMovements::place_to_read(const Movement& movement) const {
    return movement.read ? pool_.place_of(movement.given.data(), movement.read) : PoolPlace{};
}

// Memory may have come since it was offered: the pool grew for another movement, or rows were given back.
void WindowMovements::make_room(Movement& movement) {
    const bool lacked = missing_bytes(movement) > 0;
    take_memory(movement);
    auto lacking = double(missing_bytes(movement));
    group_.max(std::span(&lacking, 1), {"pool of rows", movement.terms.layer});
    if (lacking > 0) pool_.grow(missing_bytes(movement));
    grown_for_ = movement.number;
    if (!lacked) return;
    take_memory(movement);
    copy_unlent(movement);
    control_.settle(movement.number, place_to_read(movement), place_of(movement.stored));
}

void WindowMovements::expect_same_terms(const Movement& movement) const {
    for (int m = 0; m < group_.size(); ++m) {
        const MovementTerms& theirs = control_.offer_of(m, movement.number).terms;
        if (theirs == movement.terms) continue;
        throw Error(concat("window: rank ", group_.world_rank(m), " moves ", theirs.describe(), "; expected ",
                           movement.terms.describe(), ", as on rank ", group_.world_rank(group_.rank())));
    }
}

MovementBases WindowMovements::bases_of(const Movement& movement) const {
    MovementBases bases;
    for (int m = 0; m < group_.size(); ++m) {
        const MovementOffer& offer = control_.offer_of(m, movement.number);
        bases.read.push_back(pool_.at(m, offer.read));
        bases.stored.push_back(pool_.at(m, offer.stored));
    }
    return bases;
}

// Of the first movement that this one waits for.
std::string WindowMovements::outstanding(const Movement& movement) const {
    const Movement& first = movement.worked || open_.empty() ? movement : *open_.front();
    std::string ranks;
    for (int m = 0; m < group_.size(); ++m) {
        const bool there = first.worked ? control_.has_done(m, first.number) : control_.has_offered(m, first.number);
        if (!there) ranks += concat(ranks.empty() ? "rank " : ", rank ", group_.world_rank(m));
    }
    if (ranks.empty()) ranks = "all ranks";
    const std::string what = concat(name_of(first.terms.kind), " of layer ", first.terms.layer);
    return concat(ranks, first.worked ? " to store rows in " : " to enter ", what);
}

void WindowMovements::expect_whole() const {
    if (broken_) throw Error("window: a movement before was given up, and the ranks have lost step");
}

}  // namespace expar
