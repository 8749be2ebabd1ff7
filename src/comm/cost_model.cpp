#include "expar/comm/cost_model.hpp"

#include <algorithm>

#include "expar/base/names.hpp"

namespace expar {
namespace {

constexpr std::string_view lent_suffix = " lent";

}  // namespace

std::string_view ExchangeCost::exchange() const {
    return std::string_view(kind).substr(0, kind.size() - (from_lent() ? lent_suffix.size() : 0));
}

bool ExchangeCost::from_lent() const {
    return kind.ends_with(lent_suffix);
}

double ExchangeCost::seconds(double bytes) const {
    const auto behind = std::ranges::find_if(
        segments, [bytes](const CostSegment& segment) { return double(segment.from_bytes) > bytes; });
    const CostSegment& segment = behind == segments.begin() ? segments.front() : *std::prev(behind);
    return segment.alpha_seconds + segment.beta_seconds_per_byte * bytes;
}

std::vector<CostSegment> segments_through(std::span<const CostPoint> points) {
    if (points.empty()) throw Error("cost model: no points");
    std::vector<CostSegment> segments;
    double here = points.front().seconds;
    for (std::size_t i = 0; i + 1 < points.size(); ++i) {
        const double next = std::max(here, points[i + 1].seconds);
        const double beta = (next - here) / double(points[i + 1].bytes - points[i].bytes);
        segments.push_back({points[i].bytes, here - beta * double(points[i].bytes), beta});
        here = next;
    }
    if (segments.empty()) segments.push_back({0, here, 0});
    segments.front().from_bytes = 0;
    return segments;
}

std::optional<double> CostModel::seconds(std::string_view kind, double bytes) const {
    const auto cost = std::ranges::find(costs, kind, &ExchangeCost::kind);
    if (cost == costs.end()) return std::nullopt;
    return cost->seconds(bytes);
}

bool CostModel::knows(std::string_view kind) const {
    return std::ranges::find(costs, kind, &ExchangeCost::exchange) != costs.end();
}

ExchangeChoice CostModel::best(double bytes, bool lent) const {
    std::optional<ExchangeChoice> best;
    for (const ExchangeCost& cost : costs) {
        if (cost.from_lent() && !lent) continue;
        const double seconds = cost.seconds(bytes);
        if (best && best->predicted_seconds <= seconds) continue;
        best = {entry_named(exchange_kinds, "exchange", cost.exchange()).name, seconds};
    }
    if (!best) throw Error("cost model: no kinds");
    return *best;
}

}  // namespace expar
