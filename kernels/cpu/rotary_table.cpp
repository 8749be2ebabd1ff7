#include "rotary_table.hpp"

#include <algorithm>
#include <cmath>

namespace expar {

void RotaryTable::prepare(int head_size, double theta, int last) {
    if (half_ != std::size_t(head_size) / 2 || theta_ != theta) {
        half_ = std::size_t(head_size) / 2;
        theta_ = theta;
        positions_ = 0;
        cosine_.clear();
        sine_.clear();
    }
    if (last < 0 || std::size_t(last) < positions_) return;
    const std::size_t wanted = std::max(std::size_t(last) + 1, 2 * positions_);
    for (; positions_ < wanted; ++positions_)
        for (std::size_t i = 0; i < half_; ++i) {
            const double angle = double(positions_) * std::pow(theta, -double(i) / double(half_));
            cosine_.push_back(float(std::cos(angle)));
            sine_.push_back(float(std::sin(angle)));
        }
}

}  // namespace expar
