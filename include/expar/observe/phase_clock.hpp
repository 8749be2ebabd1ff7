#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace expar {

/// What a rank does in a training step, in the order in which it does it. A backward is a phase of its own.
enum class Phase : std::uint8_t {
    data,
    embed,
    attention,
    norm,
    router,
    plan,
    dispatch,
    experts,
    combine,
    shared,
    dense,
    head,
    objective,
    head_backward,
    combine_backward,
    experts_backward,
    dispatch_backward,
    router_backward,
    shared_backward,
    dense_backward,
    norm_backward,
    attention_backward,
    embed_backward,
    reduce,
    clip,
    update,
    record,
    checkpoint,
    other,  ///< of a step, what is in no other phase
};
constexpr int phase_count = int(Phase::other) + 1;

/// "attention_backward": its key in metrics.jsonl, its name in a timeline and in the files of a rank's status.
[[nodiscard]] std::string_view name_of(Phase phase);

/// Seconds of a rank in each phase, indexed by it.
using PhaseSeconds = std::array<double, phase_count>;

/// Where the time of a rank goes: each moment belongs to the innermost phase that is open, so that the phases of a
/// step add up to its time. Local, for one thread; entering and leaving read a clock each and tell the listener.
class PhaseClock {
public:
    using Now = std::int64_t (*)();  ///< nanoseconds since a moment of its own; never backwards
    /// Told the phase and layer (-1: none) that a rank is in now, whenever that changes; "" between the steps.
    using Listener = std::function<void(std::string_view phase, int layer)>;

    explicit PhaseClock(Now now = steady_nanoseconds) : now_(now) {}
    PhaseClock(const PhaseClock&) = delete;  // spans point to it
    PhaseClock& operator=(const PhaseClock&) = delete;

    /// Seconds in each phase since the last call, up to now. Phases may be open.
    PhaseSeconds take();
    void listen(Listener listener) { listener_ = std::move(listener); }
    /// Without it spans do nothing. Must not be called inside one.
    void turn(bool on) { on_ = on; }
    [[nodiscard]] std::int64_t now() const { return now_(); }

    /// One stay in a phase, the phases inside it included.
    struct Event {
        Phase phase;
        int layer;  ///< -1: none
        int step;
        std::int64_t begin, end;  ///< nanoseconds of now()
    };
    /// Stays that end from now on are kept as events of this step.
    void keep_events_of(int step) { events_of_ = step; }
    /// No more are kept; returns those that were, by their end.
    [[nodiscard]] std::vector<Event> take_events();

    [[nodiscard]] static std::int64_t steady_nanoseconds();

private:
    friend class Span;
    struct Stay {
        Phase phase;
        int layer;
        std::int64_t begin;
    };
    void enter(Phase phase, int layer);
    void leave();
    void charge(std::int64_t now);
    void tell() const;

    static constexpr int deepest = 16;
    Now now_;
    bool on_ = true;
    std::array<Stay, deepest> open_;
    int depth_ = 0;
    std::int64_t charged_until_ = 0;
    std::array<std::int64_t, phase_count> nanoseconds_{};
    Listener listener_;
    int events_of_ = -1;  // -1: none are kept
    std::vector<Event> events_;
};

/// A phase that lasts as long as this object. Spans nest.
class Span {
public:
    /// `clock` null: nothing is measured.
    Span(PhaseClock* clock, Phase phase, int layer = -1)
        : clock_(clock && clock->on_ ? clock : nullptr), layer_(layer) {
        if (clock_) clock_->enter(phase, layer);
    }
    ~Span() { end(); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

    /// Ends the phase, and begins another of the same layer.
    void next(Phase phase) {
        if (!clock_) return;
        clock_->leave();
        clock_->enter(phase, layer_);
    }
    /// Ends the phase before this object does.
    void end() {
        if (clock_) clock_->leave();
        clock_ = nullptr;
    }

private:
    PhaseClock* clock_;
    int layer_;
};

}  // namespace expar
