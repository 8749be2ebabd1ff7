#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "expar/base/error.hpp"
#include "expar/comm/cost_model.hpp"

namespace expar {
namespace {

constexpr std::string_view preamble =
    "# What an exchange takes: alpha + beta * bytes that the busiest rank sends, from so many bytes on.\n"
    "# Measured once for what a title says; a section that is gone is measured again.\n";

std::string line_of(const std::string& kind, const CostSegment& segment) {
    char line[128];
    std::snprintf(line, sizeof line, "%10lld bytes  alpha %12.5e s  beta %12.5e s/byte  %s\n",
                  static_cast<long long>(segment.from_bytes), segment.alpha_seconds, segment.beta_seconds_per_byte,
                  kind.c_str());
    return line;
}

// What line_of has written.
bool read_line(const std::string& line, std::string& kind, CostSegment& segment) {
    std::istringstream in(line);
    std::string bytes, alpha, s, beta, per_byte;
    if (!(in >> segment.from_bytes >> bytes >> alpha >> segment.alpha_seconds >> s >> beta >>
          segment.beta_seconds_per_byte >> per_byte >> std::ws))
        return false;
    return bytes == "bytes" && alpha == "alpha" && beta == "beta" && bool(std::getline(in, kind)) &&
           segment.from_bytes >= 0;
}

void add(CostModel& model, const std::string& kind, const CostSegment& segment) {
    if (model.costs.empty() || model.costs.back().kind != kind) model.costs.push_back({kind, {}});
    model.costs.back().segments.push_back(segment);
}

}  // namespace

CostFile::CostFile(std::string_view text) {
    std::istringstream lines{std::string(text)};
    std::string line, kind;
    for (int number = 1; std::getline(lines, line); ++number) {
        if (line.empty() || line.front() == '#') continue;
        CostSegment segment;
        if (line.front() == '[' && line.back() == ']')
            sections_.push_back({line.substr(1, line.size() - 2), {}});
        else if (!sections_.empty() && read_line(line, kind, segment))
            add(sections_.back().model, kind, segment);
        else
            throw Error(concat("cost model, line ", number, ": '", one_line(line),
                               "', expected '[title]' or 'N bytes alpha N s beta N s/byte kind' below one"));
    }
}

const CostModel* CostFile::find(std::string_view title) const {
    for (const Section& section : sections_)
        if (section.title == title && !section.model.costs.empty()) return &section.model;
    return nullptr;
}

void CostFile::put(std::string_view title, CostModel model) {
    std::erase_if(sections_, [title](const Section& section) { return section.title == title; });
    sections_.push_back({std::string(title), std::move(model)});
}

std::string CostFile::text() const {
    std::string text(preamble);
    for (const Section& section : sections_) {
        text += concat("\n[", section.title, "]\n");
        for (const ExchangeCost& cost : section.model.costs)
            for (const CostSegment& segment : cost.segments) text += line_of(cost.kind, segment);
    }
    return text;
}

std::string user_costs_file() {
    const auto variable = [](const char* name) -> std::string {
        const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nobody sets it
        return value ? value : "";
    };
    const std::string cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
    if (cache.empty() && home.empty()) return {};
    return concat(cache.empty() ? home + "/.cache" : cache, "/expar/exchange_costs.txt");
}

}  // namespace expar
