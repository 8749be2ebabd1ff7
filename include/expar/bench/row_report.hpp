#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "expar/bench/bench_row.hpp"

namespace expar {

/// {"provenance": {…}, "rows": [{…}, …]}: what every benchmark of communication writes.
[[nodiscard]] std::string json_of_rows(const Cells& provenance, std::span<const Cells> rows);

/// Provenance in lines that begin with '#', a line of keys, a line for each row. Nothing stands where there is no
/// value.
[[nodiscard]] std::string csv_of_rows(const Cells& provenance, std::span<const Cells> rows);

/// What json_of_rows has written.
struct RowFile {
    Cells provenance;
    std::vector<Cells> rows;
};
/// `name` is the file's, for what may be wrong with it. Throws UserError.
[[nodiscard]] RowFile rows_of_json(const std::string& text, const std::string& name);

/// The files of a benchmark. They hold whole rows at any time, so that what a sweep has measured outlives it. Local.
class RowFiles {
public:
    /// An empty path: no such file.
    RowFiles(Cells provenance, std::filesystem::path json, std::filesystem::path csv);

    void add(Cells row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] const std::vector<Cells>& rows() const { return rows_; }

    /// Brings the files up to date. Throws UserError.
    void save() const;
    /// The same for good: waits for the disk, and writes also what cannot be written twice, such as a pipe.
    void finish() const;

private:
    Cells provenance_;
    std::filesystem::path json_, csv_;
    std::vector<Cells> rows_;
};

/// How a column shows numbers.
enum class Show {
    as_is,
    milliseconds,  ///< of seconds, three digits that count
    microseconds,  ///< the same
    fixed,         ///< two decimals
    grouped,       ///< digits of a count
};

/// A column of a table on a terminal; '-' where there is no value. Negative widths: to the left, as texts are.
struct Column {
    std::string_view key, heading;
    int width = 10;
    Show show = Show::as_is;
};
[[nodiscard]] std::string heading_line(std::span<const Column> columns);
[[nodiscard]] std::string row_line(std::span<const Column> columns, const Cells& row);

// The columns of each kind of row.
[[nodiscard]] std::span<const Column> dispatch_columns();
[[nodiscard]] std::span<const Column> layer_columns();
[[nodiscard]] std::span<const Column> probe_columns();
[[nodiscard]] std::span<const Column> allreduce_columns();

}  // namespace expar
