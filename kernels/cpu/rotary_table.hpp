#pragma once

#include <cstddef>
#include <vector>

namespace expar {

/// Cosines and sines of position · theta^(-2i/d) for i < d/2, computed in float64, kept from call to call.
class RotaryTable {
public:
    /// Makes rows for positions 0 … last.
    void prepare(int head_size, double theta, int last);

    [[nodiscard]] const float* cosine(int position) const { return cosine_.data() + std::size_t(position) * half_; }
    [[nodiscard]] const float* sine(int position) const { return sine_.data() + std::size_t(position) * half_; }

private:
    std::size_t half_ = 0;
    double theta_ = 0;
    std::size_t positions_ = 0;
    std::vector<float> cosine_, sine_;
};

}  // namespace expar
