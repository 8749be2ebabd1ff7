#include "expar/bench/merge_rows.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "expar/base/error.hpp"

namespace expar {
namespace {

std::optional<double> number_of(const CellValue& value) {
    if (const auto* number = std::get_if<double>(&value)) return *number;
    if (const auto* number = std::get_if<std::int64_t>(&value)) return double(*number);
    return std::nullopt;
}

// What tells rows apart.
Cells identity_of(const Cells& row) {
    Cells identity;
    for (const Cell& cell : row) {
        if (cell.key == "iterations") break;
        identity.push_back(cell);
    }
    for (const Cell& cell : row)
        if (cell.key == "mode") identity.push_back(cell);
    return identity;
}

std::string text_of(const Cells& identity) {
    return csv_of_rows({}, std::span(&identity, 1));
}

class MergedRow {
public:
    explicit MergedRow(std::vector<const Cells*> rows) : rows_(std::move(rows)), merged_(*rows_.front()) {}

    Cells merge() {
        const auto first = std::ranges::find(merged_, "iterations", &Cell::key);
        std::for_each(first, merged_.end(), [this](Cell& cell) { merge_cell(cell); });
        settle_time();
        return merged_;
    }

private:
    // The numbers that the launches have under this key.
    [[nodiscard]] std::vector<double> numbers(const std::string& key) const {
        std::vector<double> all;
        for (const Cells* row : rows_)
            if (const auto number = number_of(value_of(*row, key))) all.push_back(*number);
        return all;
    }
    void set(const std::string& key, CellValue value) {
        const auto cell = std::ranges::find(merged_, key, &Cell::key);
        if (cell != merged_.end()) cell->value = std::move(value);
    }

    void merge_cell(Cell& cell) const {
        const std::vector<double> all = numbers(cell.key);
        if (all.empty()) return;
        const bool is_sum = cell.key == "iterations" || cell.key == "launches";
        const bool is_most = cell.key.starts_with("wrong_");
        double value = spread_of(all).median;
        if (is_most) value = *std::ranges::max_element(all);
        if (is_sum) {
            value = 0;
            for (const double number : all) value += number;
        }
        if (std::holds_alternative<std::int64_t>(cell.value))
            cell.value = std::int64_t(value);
        else
            cell.value = value;
    }

    // What follows from times.
    void settle_time() {
        const std::vector<double> medians = numbers("median_seconds");
        const Interval within = rows_.size() > 1 ? median_within(medians) : own_interval();
        set("ci_low_seconds", within.from);
        set("ci_high_seconds", within.to);
        const auto of = [&](const char* key) -> std::optional<double> {
            const auto cell = std::ranges::find(merged_, key, &Cell::key);
            return cell == merged_.end() ? std::nullopt : number_of(cell->value);
        };
        const auto bound = of("bound_seconds");
        const double median = spread_of(medians).median;
        if (!bound || median <= 0) return;
        set("efficiency", *bound / median);
        set("bound_violated", of("bound_low_seconds").value_or(*bound) > 1.05 * within.to);
    }
    [[nodiscard]] Interval own_interval() const {
        return {numbers("ci_low_seconds").front(), numbers("ci_high_seconds").front()};
    }

    std::vector<const Cells*> rows_;
    Cells merged_;
};

void expect_same_keys(const Cells& row, const Cells& first) {
    if (!std::ranges::equal(row, first, {}, &Cell::key, &Cell::key))
        throw UserError("merge: rows of one file have other keys than those of another, expected one benchmark");
}

}  // namespace

RowFile merge_rows(std::span<const RowFile> files) {
    std::vector<std::string> order;
    std::map<std::string, std::vector<const Cells*>> same;
    const Cells* first = nullptr;
    for (const RowFile& file : files)
        for (const Cells& row : file.rows) {
            if (!first) first = &row;
            expect_same_keys(row, *first);
            static_cast<void>(value_of(row, "median_seconds"));
            auto& rows = same[text_of(identity_of(row))];
            if (rows.empty()) order.push_back(text_of(identity_of(row)));
            rows.push_back(&row);
        }
    RowFile merged{files.empty() ? Cells{} : files.front().provenance, {}};
    for (const std::string& identity : order) merged.rows.push_back(MergedRow(same[identity]).merge());
    return merged;
}

}  // namespace expar
