#include "expar/observe/phase_clock.hpp"

#include <chrono>
#include <utility>

#include "expar/base/error.hpp"

namespace expar {

std::string_view name_of(Phase phase) {
    constexpr std::array<std::string_view, phase_count> names = {
        "data",
        "embed",
        "attention",
        "norm",
        "router",
        "plan",
        "dispatch",
        "experts",
        "combine",
        "shared",
        "dense",
        "head",
        "objective",
        "head_backward",
        "combine_backward",
        "experts_backward",
        "dispatch_backward",
        "router_backward",
        "shared_backward",
        "dense_backward",
        "norm_backward",
        "attention_backward",
        "embed_backward",
        "reduce",
        "clip",
        "update",
        "record",
        "checkpoint",
        "other",
    };
    static_assert(!names.back().empty());
    return names[std::size_t(phase)];
}

std::int64_t PhaseClock::steady_nanoseconds() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// The innermost open phase gets the time since the last charge.
void PhaseClock::charge(std::int64_t now) {
    if (depth_ > 0) nanoseconds_[std::size_t(open_[depth_ - 1].phase)] += now - charged_until_;
    charged_until_ = now;
}

void PhaseClock::enter(Phase phase, int layer) {
    if (depth_ == deepest) throw Error(concat("phase clock: ", deepest, " phases are open, no more were expected"));
    const std::int64_t now = now_();
    charge(now);
    open_[depth_++] = {phase, layer, now};
    tell();
}

void PhaseClock::leave() {
    const std::int64_t now = now_();
    charge(now);
    const Stay& stay = open_[--depth_];
    if (events_of_ >= 0) events_.push_back({stay.phase, stay.layer, events_of_, stay.begin, now});
    tell();
}

void PhaseClock::tell() const {
    if (!listener_) return;
    if (depth_ == 0)
        listener_("", -1);
    else
        listener_(name_of(open_[depth_ - 1].phase), open_[depth_ - 1].layer);
}

PhaseSeconds PhaseClock::take() {
    charge(now_());
    PhaseSeconds seconds;
    for (std::size_t i = 0; i < seconds.size(); ++i) seconds[i] = double(nanoseconds_[i]) / 1e9;
    nanoseconds_.fill(0);
    return seconds;
}

std::vector<PhaseClock::Event> PhaseClock::take_events() {
    events_of_ = -1;
    return std::exchange(events_, {});
}

}  // namespace expar
