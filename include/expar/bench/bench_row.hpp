#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "expar/bench/skew.hpp"
#include "expar/bench/statistics.hpp"

namespace expar {

/// What a cell of a row holds; monostate: not known, or there is no such thing.
using CellValue = std::variant<std::monostate, bool, std::int64_t, std::uint64_t, double, std::string>;

/// A key and its value. Dots in a key nest it where the form of a file can: "skew.zero_fraction".
struct Cell {
    std::string key;
    CellValue value;
};
/// One row of a benchmark, in the order of its columns: the same keys in every row of a file.
using Cells = std::vector<Cell>;

/// The value of a key. Throws Error when the row has none of that name.
[[nodiscard]] const CellValue& value_of(const Cells& row, std::string_view key);

/// A count as a cell's value.
[[nodiscard]] inline CellValue cell_value(std::int64_t count) {
    return count;
}
/// What is there as a cell's value, else null.
template <class T>
[[nodiscard]] CellValue cell_value(const std::optional<T>& value) {
    return value ? CellValue(*value) : CellValue();
}

/// What is known of a time after many repetitions: each the slowest rank's.
struct TimeSummary {
    int iterations = 0;
    double median = 0, p90 = 0, p99 = 0;
    Interval within;  ///< of the median
};
/// `values` must not be empty.
[[nodiscard]] TimeSummary summary_of(const std::vector<double>& values);

/// One phase of one algorithm on one workload: what dispatchers, exchanges and layers are compared by.
struct BenchRow {
    std::string workload;
    std::uint64_t seed = 0;
    std::string hash;  ///< of the routing of all ranks
    int tokens = 0;    ///< of a rank, in the mean
    int hidden = 0, top_k = 0, experts = 0;
    int ranks = 1, nodes = 1, layers = 1, chunks = 1;
    std::string dtype, dispatcher, exchange;
    std::string chosen;  ///< what really ran, where the above leaves a choice
    std::string combine_order;
    bool backward = false;
    bool cached_plan = false;
    bool warm = false;
    std::string phase;
    TimeSummary time;
    std::optional<std::int64_t> rows_delivered, bytes_copied;        ///< of all ranks
    std::optional<std::int64_t> wire_bytes_intra, wire_bytes_inter;  ///< handed to MPI by the busiest rank
    std::optional<std::int64_t> kernel_link_bytes;                   ///< by the system's counters of the busiest link
    std::optional<MovedRows> moved;
    std::optional<Skew> skew;
    std::optional<double> bound_seconds, bound_low_seconds;  ///< by the median probe; by the lower end of its interval
    std::optional<double> stage_bound_seconds, predicted_seconds;
    std::optional<double> hidden_fraction;
    std::int64_t wrong_rows = 0;

    // Beside the contract of all files.
    bool back_to_back = false;
    std::int64_t logical_bytes = 0;           ///< of the rows asked for on the busiest rank, whether they travel or not
    std::optional<double> alltoallv_seconds;  ///< of a bare MPI_Alltoallv of the same rows
    std::optional<double> copy_gb_per_second;  ///< of a plain copy by all ranks, read and written together
    int launches = 1;

    [[nodiscard]] std::optional<double> efficiency() const;
    /// Faster than can be, beyond doubt: the whole interval of the efficiency lies above 1.05.
    [[nodiscard]] std::optional<bool> bound_violated() const;
    [[nodiscard]] Cells cells() const;
};

/// What the machine does when all ranks do one thing at once.
struct ProbeRow {
    std::string pattern;
    std::int64_t bytes = 0;  ///< that a rank reads and writes, or sends
    TimeSummary time{};
    std::optional<double> gb_per_second{};  ///< of one rank
    std::optional<double> alpha_seconds{};  ///< what it takes without bytes
    int ranks = 1;

    [[nodiscard]] Cells cells() const;
};

/// A sum over all ranks.
struct AllreduceRow {
    std::int64_t bytes = 0;  ///< of the vector
    std::string algorithm;
    TimeSummary time{};
    std::optional<double> bound_seconds{}, predicted_seconds{};
    int ranks = 1;
    std::int64_t wrong_elements = 0;

    /// As others report it: 2 (R - 1) / R of the vector a rank must send, in that time.
    [[nodiscard]] double bus_gb_per_second() const;
    [[nodiscard]] Cells cells() const;
};

}  // namespace expar
