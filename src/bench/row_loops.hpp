#pragma once

#include <cstddef>
#include <span>

#include "expar/bench/access_probe.hpp"

namespace expar {

/// The loops of AccessProbe on rows of `bytes` bytes, with the widest registers of this processor. Stores past the
/// caches are ordinary ones where a row does not begin at a multiple of 64 bytes.
struct RowLoops {
    /// One row to several places.
    void (*copy_to)(const std::byte* row, std::span<std::byte* const> places, std::size_t bytes, Stores stores);
    /// All rows into one; none: zeros.
    void (*merge)(std::span<std::byte* const> rows, std::byte* out, std::size_t bytes, Stores stores);
    /// Reads `other` beside `row` and writes a row.
    void (*combine_two)(const std::byte* row, const std::byte* other, std::byte* out, std::size_t bytes, Stores stores);
};
[[nodiscard]] const RowLoops& row_loops();

/// Before others read what was stored past the caches.
void complete_stores();

}  // namespace expar
