#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

namespace expar {

/// One comparison, as it stands in the JSON file, where an error that is infinite is null.
struct VerifyRow {
    std::string case_name;
    std::string dispatcher = "packed";
    int ranks = 1;
    int ep = 1;
    int dp = 1;
    int step = 0;
    std::string reference;  ///< one_rank | float64 | transformers (golden files)
    std::string quantity;
    double max_abs_error = 0;
    double max_rel_error = 0;  ///< max|Δ| / max|reference|; max|Δ| where the reference is zero everywhere
    double tolerance = 0;      ///< on max_rel_error; 0: bits must be equal
    bool bitwise = false;      ///< every bit was equal
    long dropped = 0;
    double clip_factor = 1;
    double load_max_over_mean = 1;
    std::string skipped;  ///< why there was nothing to compare; empty: there was
    bool passed = false;
};

struct VerifyReport {
    std::vector<VerifyRow> rows;

    [[nodiscard]] int compared() const;  ///< rows that were not skipped
    [[nodiscard]] bool passed() const;   ///< something was compared, and nothing failed
    [[nodiscard]] std::string json() const;
    /// A line per case and layout, then every comparison that failed.
    void print(std::ostream& out) const;
};

/// Fills the errors, `bitwise` and `passed` of a row from what was computed and what was expected. Nothing passes that
/// is empty, or where a value is not finite. Throws Error when the sizes differ.
void compare(std::span<const float> tested, std::span<const float> reference, VerifyRow& row);
void compare(std::span<const float> tested, std::span<const double> reference, VerifyRow& row);
void compare(std::span<const double> tested, std::span<const double> reference, VerifyRow& row);

}  // namespace expar
