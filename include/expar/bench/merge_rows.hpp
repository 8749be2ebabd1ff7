#pragma once

#include <span>
#include <vector>

#include "expar/bench/row_report.hpp"

namespace expar {

/// Rows of several launches as one file's: what is the same in all launches becomes one row, whose times are medians
/// over the launches, since one launch is one sample and they differ more than its iterations do.
///
/// Same are rows whose texts and counts of what was run are equal: all before "iterations", and "mode". The interval
/// is that of the median of the launches' medians, their outermost when there are fewer than 6; iterations and launches
/// are added up, of wrong rows the most count, a bound is violated when it is beyond all doubt in the merged row. Rows
/// keep the order of the first file that has them. Throws UserError when a file's rows have other keys.
[[nodiscard]] RowFile merge_rows(std::span<const RowFile> files);

}  // namespace expar
