#include "timeline_recorder.hpp"

#include <array>
#include <charconv>

#include "expar/base/error.hpp"
#include "expar/comm/topology.hpp"
#include "expar/comm/verdict.hpp"
#include "expar/store/partial_file.hpp"

namespace expar::cli {
namespace {

constexpr int most_steps = 100;  // a step of a large model has some ten thousand events

}  // namespace

StepRange step_range(const std::string& text) {
    StepRange range;
    const char* end = text.data() + text.size();
    const auto [colon, first_error] = std::from_chars(text.data(), end, range.first);
    const bool has_colon = first_error == std::errc() && colon != end && *colon == ':';
    const auto [rest, last_error] = has_colon ? std::from_chars(colon + 1, end, range.last)
                                              : std::from_chars_result{end, std::errc::invalid_argument};
    if (last_error != std::errc() || rest != end || range.first < 1 || range.last < range.first)
        throw UserError(concat("--timeline-steps: expected first:last, two steps of 1 or more, got '", text, "'"));
    if (range.last - range.first >= most_steps)
        throw UserError(concat("--timeline-steps: ", text, " are ", std::int64_t{range.last} - range.first + 1,
                               " steps, expected at most ", most_steps));
    return range;
}

TimelineRecorder::TimelineRecorder(StepRange steps, std::filesystem::path path, int ranks_per_node, PhaseClock& clock,
                                   const Communicator& world)
    : steps_(steps), path_(std::move(path)), ranks_per_node_(ranks_per_node), clock_(clock), world_(world) {}

void TimelineRecorder::begin_step(int step) {
    if (step < steps_.first || step > steps_.last) return;
    if (!alignment_) {
        alignment_.emplace();
        alignment_->at_begin = measure_clock_offset(world_, PhaseClock::steady_nanoseconds);
        alignment_->begin = clock_.now();
    }
    clock_.keep_events_of(step);
}

void TimelineRecorder::end_step(int step) {
    if (alignment_ && step == steps_.last) write();
}

void TimelineRecorder::finish() {
    if (alignment_) write();
}

void TimelineRecorder::write() {
    alignment_->at_end = measure_clock_offset(world_, PhaseClock::steady_nanoseconds);
    alignment_->end = clock_.now();
    const auto events = clock_.take_events();
    std::array minus_origin{-alignment_->aligned(alignment_->begin)};  // of the rank that began first
    world_.max(minus_origin, {"origin of the timeline"});
    const Topology nodes =
        ranks_per_node_ > 0 ? topology_of(world_.size(), ranks_per_node_) : discover_topology(world_);
    const TimelineRank who{world_.rank(), nodes.node_of[std::size_t(world_.rank())]};
    const auto lines =
        world_.gather(timeline_lines(who, events, *alignment_, -minus_origin[0]), 0, {"gathering of the timeline"});
    judge_on_root(world_, [&] { replace_file(path_, timeline_file(lines)); });
    alignment_.reset();
    written_ = true;
}

}  // namespace expar::cli
