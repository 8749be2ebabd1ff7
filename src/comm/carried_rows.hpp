#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "expar/base/matrix.hpp"

namespace expar {

// A rank that carries the rows of others may have none itself and know neither their length nor their type. Carried
// rows are therefore rows of `width` pairs of bytes, and whoever sends tells the width first.
inline constexpr DType carried_dtype = DType::bfloat16;

[[nodiscard]] inline int carried_width(ConstRows rows) {
    return rows.rows() == 0 ? 0 : int(rows.row_bytes() / size_of(carried_dtype));
}

/// The same memory.
template <class View>
[[nodiscard]] View as_carried(View rows) {
    if (rows.rows() == 0) return {nullptr, 0, 0, carried_dtype};
    return {rows.data(), rows.rows(), int(rows.row_bytes() / size_of(carried_dtype)), carried_dtype};
}

/// Memory for rows that pass through this rank.
class RowStore {
public:
    Rows take(int rows, int width) {
        bytes_.reset(new std::byte[std::size_t(rows) * std::size_t(width) * size_of(carried_dtype)]);
        return {bytes_.get(), rows, width, carried_dtype};
    }

private:
    std::unique_ptr<std::byte[]> bytes_;
};

inline void copy_rows(ConstRows from, Rows to) {
    if (to.bytes() > 0) std::memcpy(to.data(), from.data(), to.bytes());
}

/// Whole numbers as rows of one, for a message of their own.
[[nodiscard]] inline Rows as_rows(std::vector<int>& numbers) {
    return {numbers.data(), int(numbers.size()), 1, DType::int32};
}

}  // namespace expar
