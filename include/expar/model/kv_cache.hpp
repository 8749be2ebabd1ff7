#pragma once

#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/model/model_options.hpp"

namespace expar {

/// Keys and values of the tokens of one sequence so far, per layer, rotated and ready to be read.
class KvCache {
public:
    /// Takes memory for `capacity` tokens at once. `options` must be resolved.
    KvCache(Device& device, DType dtype, const ModelOptions& options, int capacity);

    [[nodiscard]] int length() const { return length_; }  ///< tokens held
    [[nodiscard]] int capacity() const { return capacity_; }
    [[nodiscard]] Rows keys(int layer) { return keys_[layer]; }      ///< [capacity, kv_heads d]
    [[nodiscard]] Rows values(int layer) { return values_[layer]; }  ///< [capacity, kv_heads d]

    /// Throws Error when `tokens` more do not fit.
    void check_room(int tokens) const;
    /// Counts `tokens` more, whose keys and values every layer has written behind the others.
    void grow(int tokens);
    void clear() { length_ = 0; }

private:
    int length_ = 0;
    int capacity_;
    std::vector<Matrix> keys_, values_;
};

}  // namespace expar
