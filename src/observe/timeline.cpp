#include "expar/observe/timeline.hpp"

#include <cstdio>

#include "expar/base/error.hpp"

namespace expar {
namespace {

// "{"name": …}," of a node or a rank. All names are ours: nothing needs to be escaped.
std::string metadata(const TimelineRank& who, std::string_view what, std::string_view name) {
    return concat(R"({"name": ")", what, R"(", "ph": "M", "pid": )", who.node, R"(, "tid": )", who.rank,
                  R"(, "args": {"name": ")", name, "\"}},\n");
}

}  // namespace

double ClockAlignment::aligned(std::int64_t time) const {
    const double drift = at_end.nanoseconds - at_begin.nanoseconds;
    const double share = end > begin ? double(time - begin) / double(end - begin) : 0;
    return double(time) + at_begin.nanoseconds + share * drift;
}

std::string timeline_lines(const TimelineRank& who, std::span<const PhaseClock::Event> events,
                           const ClockAlignment& clock, double origin) {
    std::string lines = metadata(who, "process_name", concat("node ", who.node));
    lines += metadata(who, "thread_name", concat("rank ", who.rank));
    for (const auto& event : events) {
        const std::string_view name = event.phase == Phase::other ? "step" : name_of(event.phase);
        const double begin = clock.aligned(event.begin);
        const std::string layer = event.layer < 0 ? "" : concat("\"layer\": ", event.layer, ", ");
        char line[256];
        std::snprintf(
            line, sizeof line,
            R"({"name": "%.*s", "ph": "X", "pid": %d, "tid": %d, "ts": %.3f, "dur": %.3f, "args": {%s"step": %d}},)"
            "\n",
            int(name.size()), name.data(), who.node, who.rank, (begin - origin) / 1e3,
            (clock.aligned(event.end) - begin) / 1e3, layer.c_str(), event.step);
        lines += line;
    }
    return lines;
}

std::string timeline_file(const std::vector<std::string>& lines_of_ranks) {
    std::string text = "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [\n";
    for (const auto& lines : lines_of_ranks) text += lines;
    // The last line without its comma.
    if (text.ends_with(",\n")) text.replace(text.size() - 2, 2, "\n");
    return text + "]}\n";
}

}  // namespace expar
