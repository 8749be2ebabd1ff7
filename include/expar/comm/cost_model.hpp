#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/comm/exchange.hpp"

namespace expar {

/// From so many bytes on, an exchange takes alpha_seconds + beta_seconds_per_byte * bytes (after Hockney, "The
/// communication challenge for MPP", Parallel Computing 20(3), 1994; piecewise, since protocols change with the size).
struct CostSegment {
    std::int64_t from_bytes = 0;
    double alpha_seconds = 0;
    double beta_seconds_per_byte = 0;
};

/// What exchanges of one kind take.
struct ExchangeCost {
    std::string kind;                   ///< of exchange_kinds; `window lent`: `window` from memory that it has lent
    std::vector<CostSegment> segments;  ///< by from_bytes, the first from 0; not empty

    [[nodiscard]] std::string_view exchange() const;  ///< its name among exchange_kinds
    [[nodiscard]] bool from_lent() const;
    /// `bytes`: that the busiest rank sends to others.
    [[nodiscard]] double seconds(double bytes) const;
};

/// What was measured of a kind: the slowest rank's time when every rank sends `bytes`, shared out to all others.
struct CostPoint {
    std::int64_t bytes = 0;
    double seconds = 0;
};
/// The line through each pair of neighbours; the last one goes on. A point that is faster than one with fewer bytes
/// counts as equal to it. Points by ascending bytes, at least one.
[[nodiscard]] std::vector<CostSegment> segments_through(std::span<const CostPoint> points);

/// The costs of all kinds that can run between some ranks. A value.
struct CostModel {
    std::vector<ExchangeCost> costs;

    /// Nothing when the kind is not known.
    [[nodiscard]] std::optional<double> seconds(std::string_view kind, double bytes) const;
    [[nodiscard]] bool knows(std::string_view kind) const;  ///< from lent memory or from other
    /// The kind that takes the least; of equals the first. `lent`: `window` reads memory that it has lent.
    [[nodiscard]] ExchangeChoice best(double bytes, bool lent) const;
};

/// Measures every kind that can run on `comm`, a second or so altogether: sizes go up by a factor of four until an
/// exchange lasts, the kinds in turn, in buffers that are used in turn. The same numbers on all ranks. Collective;
/// blocks.
[[nodiscard]] CostModel probe_costs(const Communicator& comm, const ExchangeOptions& options);

/// Costs from the file at options.costs_file, or, where that has none for these ranks, processors, options and this
/// MPI, from probe_costs(), which are then added to the file. A file that cannot be read or written costs the time of
/// the probe and nothing else. The same on all ranks. Collective; blocks.
[[nodiscard]] CostModel known_costs(const Communicator& comm, const ExchangeOptions& options);

/// Costs under titles, in lines that a person can read.
class CostFile {
public:
    CostFile() = default;
    /// Throws Error that names the line when the text is not one.
    explicit CostFile(std::string_view text);

    /// Null when there is no such title.
    [[nodiscard]] const CostModel* find(std::string_view title) const;
    /// In place of what was there of this title.
    void put(std::string_view title, CostModel model);
    [[nodiscard]] std::string text() const;

private:
    struct Section {
        std::string title;
        CostModel model;
    };
    std::vector<Section> sections_;
};

/// $XDG_CACHE_HOME/expar/exchange_costs.txt, else ~/.cache/expar/exchange_costs.txt; empty without a home.
[[nodiscard]] std::string user_costs_file();

}  // namespace expar
