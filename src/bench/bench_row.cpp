#include "expar/bench/bench_row.hpp"

#include <algorithm>
#include <cmath>

#include "expar/base/error.hpp"

namespace expar {
namespace {

constexpr double giga = 1e9;

// The least value that no less than this share of all is not above.
double percentile(const std::vector<double>& sorted, double share) {
    const auto rank = std::size_t(std::ceil(share * double(sorted.size())));
    return sorted[std::clamp<std::size_t>(rank, 1, sorted.size()) - 1];
}

void add_time(Cells& cells, const TimeSummary& time) {
    cells.push_back({"iterations", cell_value(time.iterations)});
    cells.push_back({"median_seconds", time.median});
    cells.push_back({"ci_low_seconds", time.within.from});
    cells.push_back({"ci_high_seconds", time.within.to});
    cells.push_back({"p90_seconds", time.p90});
    cells.push_back({"p99_seconds", time.p99});
}

void add_moved(Cells& cells, const std::optional<MovedRows>& moved, RowCount MovedRows::*part,
               const std::string& suffix) {
    const auto add = [&](const char* key, std::int64_t RowCount::*count) {
        cells.push_back({key + suffix, moved ? cell_value((*moved).*part.*count) : CellValue()});
    };
    add("x0", &RowCount::x0);
    add("x1", &RowCount::x1);
    add("x2", &RowCount::x2);
    add("y0", &RowCount::y0);
    add("y1", &RowCount::y1);
}

void add_skew(Cells& cells, const std::optional<Skew>& skew) {
    const auto add = [&](const char* key, double Skew::*figure) {
        cells.push_back({key, skew ? CellValue(*skew.*figure) : CellValue()});
    };
    add("skew.rank_max_over_mean", &Skew::rank_max_over_mean);
    add("skew.expert_max_over_mean", &Skew::expert_max_over_mean);
    add("skew.rank_gini", &Skew::rank_gini);
    add("skew.expert_gini", &Skew::expert_gini);
    add("skew.zero_fraction", &Skew::zero_fraction);
}

// What was run, as far as a user chooses it.
Cells configuration(const BenchRow& row) {
    return {{"workload", row.workload},
            {"seed", row.seed},
            {"hash", row.hash},
            {"tokens", cell_value(row.tokens)},
            {"hidden", cell_value(row.hidden)},
            {"top_k", cell_value(row.top_k)},
            {"experts", cell_value(row.experts)},
            {"ranks", cell_value(row.ranks)},
            {"nodes", cell_value(row.nodes)},
            {"layers", cell_value(row.layers)},
            {"chunks", cell_value(row.chunks)},
            {"dtype", row.dtype},
            {"dispatcher", row.dispatcher},
            {"exchange", row.exchange},
            {"chosen", row.chosen},
            {"combine_order", row.combine_order},
            {"direction", std::string(row.backward ? "backward" : "forward")},
            {"cached_plan", row.cached_plan},
            {"cache", std::string(row.warm ? "warm" : "cold")},
            {"phase", row.phase}};
}

}  // namespace

const CellValue& value_of(const Cells& row, std::string_view key) {
    const auto found = std::ranges::find(row, key, &Cell::key);
    if (found == row.end()) throw Error(concat("row: no '", key, "'"));
    return found->value;
}

TimeSummary summary_of(const std::vector<double>& values) {
    std::vector<double> sorted = values;
    std::ranges::sort(sorted);
    return {.iterations = int(sorted.size()),
            .median = spread_of(sorted).median,
            .p90 = percentile(sorted, 0.9),
            .p99 = percentile(sorted, 0.99),
            .within = median_within(sorted)};
}

std::optional<double> BenchRow::efficiency() const {
    if (!bound_seconds || time.median <= 0) return std::nullopt;
    return *bound_seconds / time.median;
}

std::optional<bool> BenchRow::bound_violated() const {
    if (!bound_seconds) return std::nullopt;
    return bound_low_seconds.value_or(*bound_seconds) > 1.05 * time.within.to;
}

Cells BenchRow::cells() const {
    Cells cells = configuration(*this);
    add_time(cells, time);
    cells.push_back({"rows_delivered", cell_value(rows_delivered)});
    cells.push_back({"bytes_copied", cell_value(bytes_copied)});
    cells.push_back({"wire_bytes_intra", cell_value(wire_bytes_intra)});
    cells.push_back({"wire_bytes_inter", cell_value(wire_bytes_inter)});
    cells.push_back({"kernel_link_bytes", cell_value(kernel_link_bytes)});
    add_moved(cells, moved, &MovedRows::total, "");
    add_moved(cells, moved, &MovedRows::busiest, "_busiest");
    add_skew(cells, skew);
    cells.push_back({"bound_seconds", cell_value(bound_seconds)});
    cells.push_back({"stage_bound_seconds", cell_value(stage_bound_seconds)});
    cells.push_back({"predicted_seconds", cell_value(predicted_seconds)});
    cells.push_back({"efficiency", cell_value(efficiency())});
    cells.push_back({"bound_violated", cell_value(bound_violated())});
    cells.push_back({"hidden_fraction", cell_value(hidden_fraction)});
    cells.push_back({"wrong_rows", wrong_rows});

    const auto rate = [&](double bytes) {
        return time.median > 0 ? CellValue(bytes / time.median / giga) : CellValue();
    };
    const std::optional<std::int64_t> wire =
        wire_bytes_intra && wire_bytes_inter ? std::optional(*wire_bytes_intra + *wire_bytes_inter) : std::nullopt;
    cells.push_back({"mode", std::string(back_to_back ? "back-to-back" : "single")});
    cells.push_back({"logical_gb_per_second", logical_bytes > 0 ? rate(double(logical_bytes)) : CellValue()});
    cells.push_back({"wire_gb_per_second", wire ? rate(double(*wire)) : CellValue()});
    cells.push_back({"bound_low_seconds", cell_value(bound_low_seconds)});
    cells.push_back({"alltoallv_seconds", cell_value(alltoallv_seconds)});
    cells.push_back({"copy_gb_per_second", cell_value(copy_gb_per_second)});
    cells.push_back({"launches", cell_value(launches)});
    return cells;
}

Cells ProbeRow::cells() const {
    Cells cells = {{"pattern", pattern},
                   {"bytes", bytes},
                   {"gb_per_second", cell_value(gb_per_second)},
                   {"alpha_seconds", cell_value(alpha_seconds)},
                   {"ranks", cell_value(ranks)}};
    add_time(cells, time);
    return cells;
}

double AllreduceRow::bus_gb_per_second() const {
    return time.median > 0 ? 2.0 * (ranks - 1) / ranks * double(bytes) / time.median / giga : 0;
}

Cells AllreduceRow::cells() const {
    const bool bounded = bound_seconds && time.median > 0;
    Cells cells = {{"bytes", bytes}, {"algorithm", algorithm}, {"ranks", cell_value(ranks)}};
    add_time(cells, time);
    cells.push_back({"bus_gb_per_second", bus_gb_per_second()});
    cells.push_back({"bound_seconds", cell_value(bound_seconds)});
    cells.push_back({"predicted_seconds", cell_value(predicted_seconds)});
    cells.push_back({"efficiency", bounded ? CellValue(*bound_seconds / time.median) : CellValue()});
    cells.push_back({"wrong_elements", wrong_elements});
    return cells;
}

}  // namespace expar
