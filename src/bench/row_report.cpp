#include "expar/bench/row_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"

namespace expar {
namespace {

using Json = nlohmann::ordered_json;

Json json_value(const CellValue& value) {
    return std::visit(
        [](const auto& held) -> Json {
            if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::monostate>)
                return nullptr;
            else
                return held;
        },
        value);
}

Json json_row(const Cells& row) {
    Json json = Json::object();
    for (const auto& [key, value] : row) {
        const std::size_t dot = key.find('.');
        if (dot == std::string::npos)
            json[key] = json_value(value);
        else
            json[key.substr(0, dot)][key.substr(dot + 1)] = json_value(value);
    }
    return json;
}

CellValue cell_of(const Json& json) {
    if (json.is_null()) return {};
    if (json.is_boolean()) return json.get<bool>();
    if (json.is_number_unsigned()) {
        const auto number = json.get<std::uint64_t>();
        if (number > std::uint64_t(INT64_MAX)) return number;
        return std::int64_t(number);
    }
    if (json.is_number_integer()) return json.get<std::int64_t>();
    if (json.is_number()) return json.get<double>();
    if (json.is_string()) return json.get<std::string>();
    throw UserError("a list, expected numbers and texts");
}

Cells row_of(const Json& json) {
    if (!json.is_object()) throw UserError("a row that is no object");
    Cells cells;
    for (const auto& [key, value] : json.items()) {
        if (!value.is_object()) {
            cells.push_back({key, cell_of(value)});
            continue;
        }
        for (const auto& [inner, held] : value.items()) cells.push_back({concat(key, ".", inner), cell_of(held)});
    }
    return cells;
}

std::string csv_text(const std::string& text) {
    if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"') quoted += '"';
        quoted += c;
    }
    return quoted + '"';
}

std::string csv_value(const CellValue& value) {
    if (std::holds_alternative<std::monostate>(value)) return "";
    if (const auto* text = std::get_if<std::string>(&value)) return csv_text(*text);
    return json_value(value).dump();
}

std::string one_line_of(const CellValue& value) {
    const auto* text = std::get_if<std::string>(&value);
    return text ? one_line(*text) : csv_value(value);
}

template <class... Arguments>
std::string text(const char* format, Arguments... arguments) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, format, arguments...);
    return buffer;
}

std::string three_digits(double number) {
    const double size = std::abs(number);
    return text(size >= 100 ? "%.0f" : size >= 10 ? "%.1f" : size >= 1 ? "%.2f" : "%.3f", number);
}

double number_of(const CellValue& value) {
    if (const auto* number = std::get_if<double>(&value)) return *number;
    if (const auto* number = std::get_if<std::int64_t>(&value)) return double(*number);
    if (const auto* number = std::get_if<std::uint64_t>(&value)) return double(*number);
    return 0;
}

std::string grouped_digits(std::int64_t number) {
    const std::string digits = std::to_string(number);
    std::string out;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        if (i > 0 && (digits.size() - i) % 3 == 0) out += ',';
        out += digits[i];
    }
    return out;
}

std::string shown(const CellValue& value, Show show) {
    if (std::holds_alternative<std::monostate>(value)) return "-";
    if (const auto* held = std::get_if<std::string>(&value)) return *held;
    if (const auto* held = std::get_if<bool>(&value)) return *held ? "yes" : "no";
    switch (show) {
        case Show::milliseconds:
            return three_digits(1e3 * number_of(value));
        case Show::microseconds:
            return three_digits(1e6 * number_of(value));
        case Show::fixed:
            return text("%.2f", number_of(value));
        case Show::grouped:
            return grouped_digits(std::int64_t(number_of(value)));
        case Show::as_is:
            break;
    }
    return csv_value(value);
}

std::string padded(std::string cell, const Column& column) {
    const std::size_t width = std::size_t(std::abs(column.width));
    if (column.heading.starts_with(' ') && !cell.starts_with(' ')) cell.insert(0, 2, ' ');  // a number stands before
    const std::string space(cell.size() < width ? width - cell.size() : 1, ' ');
    return column.width < 0 ? cell + space : space + cell;
}

std::string line_of(std::span<const Column> columns, const std::function<std::string(const Column&)>& cell) {
    std::string line;
    for (const Column& column : columns) line += padded(cell(column), column);
    return line.substr(0, line.find_last_not_of(' ') + 1);
}

bool holds_true(const Cells& row, std::string_view key) {
    const auto found = std::ranges::find(row, key, &Cell::key);
    return found != row.end() && found->value == CellValue(true);
}

double count_in(const Cells& row, std::string_view key) {
    const auto found = std::ranges::find(row, key, &Cell::key);
    return found == row.end() ? 0 : number_of(found->value);
}

}  // namespace

std::string json_of_rows(const Cells& provenance, std::span<const Cells> rows) {
    // A row a line: a file that can be read, compared and cut.
    std::string out = "{\"provenance\": " + json_row(provenance).dump() + ",\n \"rows\": [";
    const char* separator = "\n  ";
    for (const Cells& row : rows) {
        out += separator;
        out += json_row(row).dump();
        separator = ",\n  ";
    }
    return out + "\n ]}\n";
}

std::string csv_of_rows(const Cells& provenance, std::span<const Cells> rows) {
    std::string out;
    for (const auto& [key, value] : provenance) out += concat("# ", key, ": ", one_line_of(value), "\n");
    if (rows.empty()) return out;
    const auto add_line = [&out](const Cells& row, auto&& text_of) {
        const char* separator = "";
        for (const Cell& cell : row) {
            out += separator;
            out += text_of(cell);
            separator = ",";
        }
        out += '\n';
    };
    add_line(rows.front(), [](const Cell& cell) { return csv_text(cell.key); });
    for (const Cells& row : rows) add_line(row, [](const Cell& cell) { return csv_value(cell.value); });
    return out;
}

RowFile rows_of_json(const std::string& text, const std::string& name) {
    try {
        const Json json = Json::parse(text);
        RowFile file{row_of(json.at("provenance")), {}};
        for (const Json& row : json.at("rows")) file.rows.push_back(row_of(row));
        return file;
    } catch (const std::exception& error) {
        throw UserError(concat(name, ": not the rows of a benchmark: ", error.what()));
    }
}

RowFiles::RowFiles(Cells provenance, std::filesystem::path json, std::filesystem::path csv)
    : provenance_(std::move(provenance)), json_(std::move(json)), csv_(std::move(csv)) {}

void RowFiles::save() const {
    const auto replace = [&](const std::filesystem::path& path, auto&& content) {
        std::error_code none;
        const auto status = std::filesystem::status(path, none);
        if (path.empty() || (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))) return;
        replace_file(path, content(), Durable::no);
    };
    replace(json_, [&] { return json_of_rows(provenance_, rows_); });
    replace(csv_, [&] { return csv_of_rows(provenance_, rows_); });
}

void RowFiles::finish() const {
    if (!json_.empty()) replace_file(json_, json_of_rows(provenance_, rows_));
    if (!csv_.empty()) replace_file(csv_, csv_of_rows(provenance_, rows_));
}

std::string heading_line(std::span<const Column> columns) {
    return line_of(columns, [](const Column& column) { return std::string(column.heading); });
}

std::string row_line(std::span<const Column> columns, const Cells& row) {
    std::string line =
        line_of(columns, [&](const Column& column) { return shown(value_of(row, column.key), column.show); });
    const double wrong = count_in(row, "wrong_rows") + count_in(row, "wrong_elements");
    if (wrong > 0) line += text("  WRONG: %.0f", wrong);
    if (holds_true(row, "bound_violated")) line += "  BOUND VIOLATED: faster than can be";
    return line;
}

std::span<const Column> dispatch_columns() {
    static constexpr std::array columns = {
        Column{"tokens", "tokens", 7},
        Column{"hidden", "hidden", 8},
        Column{"top_k", "k", 3},
        Column{"experts", "E", 5},
        Column{"dtype", "  dtype", -10},
        Column{"cache", "cache", -6},
        Column{"dispatcher", "dispatcher", -13},
        Column{"exchange", "exchange", -14},
        Column{"combine_order", "order", -8},
        Column{"direction", "direction", -10},
        Column{"phase", "phase", -9},
        Column{"cached_plan", "cached", -6},
        Column{"median_seconds", "ms", 9, Show::milliseconds},
        Column{"ci_low_seconds", "from", 8, Show::milliseconds},
        Column{"ci_high_seconds", "to", 8, Show::milliseconds},
        Column{"p99_seconds", "p99", 8, Show::milliseconds},
        Column{"logical_gb_per_second", "GB/s", 7, Show::fixed},
        Column{"bound_seconds", "bound", 8, Show::milliseconds},
        Column{"efficiency", "of it", 6, Show::fixed},
        Column{"stage_bound_seconds", "stages", 8, Show::milliseconds},
        Column{"predicted_seconds", "model", 8, Show::milliseconds},
    };
    return columns;
}

std::span<const Column> layer_columns() {
    static constexpr std::array columns = {
        Column{"tokens", "tokens", 7},
        Column{"hidden", "hidden", 8},
        Column{"top_k", "k", 3},
        Column{"experts", "E", 5},
        Column{"dtype", "  dtype", -10},
        Column{"cache", "cache", -6},
        Column{"dispatcher", "dispatcher", -13},
        Column{"exchange", "exchange", -14},
        Column{"combine_order", "order", -8},
        Column{"chunks", "chunks", 6},
        Column{"direction", "  direction", -12},
        Column{"phase", "phase", -9},
        Column{"median_seconds", "ms", 9, Show::milliseconds},
        Column{"ci_low_seconds", "from", 8, Show::milliseconds},
        Column{"ci_high_seconds", "to", 8, Show::milliseconds},
        Column{"p99_seconds", "p99", 8, Show::milliseconds},
        Column{"bound_seconds", "bound", 8, Show::milliseconds},
        Column{"efficiency", "of it", 6, Show::fixed},
        Column{"hidden_fraction", "hidden", 7, Show::fixed},
    };
    return columns;
}

std::span<const Column> probe_columns() {
    static constexpr std::array columns = {
        Column{"pattern", "pattern", -44},
        Column{"bytes", "bytes", 14, Show::grouped},
        Column{"median_seconds", "us", 10, Show::microseconds},
        Column{"gb_per_second", "GB/s", 8, Show::fixed},
        Column{"alpha_seconds", "alpha us", 10, Show::microseconds},
    };
    return columns;
}

std::span<const Column> allreduce_columns() {
    static constexpr std::array columns = {
        Column{"bytes", "bytes", 14, Show::grouped},
        Column{"algorithm", "  algorithm", -20},
        Column{"median_seconds", "us", 10, Show::microseconds},
        Column{"ci_low_seconds", "from", 10, Show::microseconds},
        Column{"ci_high_seconds", "to", 10, Show::microseconds},
        Column{"bus_gb_per_second", "bus GB/s", 10, Show::fixed},
        Column{"bound_seconds", "bound us", 10, Show::microseconds},
        Column{"efficiency", "of it", 7, Show::fixed},
    };
    return columns;
}

}  // namespace expar
