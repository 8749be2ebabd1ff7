#pragma once

#include <cstddef>
#include <span>

#include "expar/bench/access_probe.hpp"

namespace expar {

// Rows that are read, and those that are fetched meanwhile, since they are read next and lie elsewhere.
struct MergedRows {
    std::span<std::byte*const> rows, next;
};
struct TwoRows {
    const std::byte *row, *other;
    const std::byte* next_other;  ///< null: none
};

/// The loops of AccessProbe on rows of `bytes` bytes, with the widest registers of this processor. Stores past the
/// caches are ordinary ones where a row does not begin at a multiple of 64 bytes.
struct RowLoops {
    /// One row to several places.
    void (*copy_to)(const std::byte* row, std::span<std::byte* const> places, std::size_t bytes, Stores stores);
    /// All rows into one; none: zeros.
    void (*merge)(const MergedRows& in, std::byte* out, std::size_t bytes, Stores stores);
    /// Reads two rows and writes one.
    void (*combine_two)(const TwoRows& in, std::byte* out, std::size_t bytes, Stores stores);
};
[[nodiscard]] const RowLoops& row_loops();

/// Before others read what was stored past the caches.
void complete_stores();

}  // namespace expar
