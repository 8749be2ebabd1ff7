#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "expar/moe/router.hpp"

namespace expar {

int capacity_of(double factor, int top_k, std::int64_t tokens, int experts) {
    const double places = std::ceil(factor * top_k * double(tokens) / experts);
    return int(std::min(places, double(std::numeric_limits<int>::max())));
}

Array<int> drop(const Array<int>& experts, int capacity, std::span<const int> taken, Device& device) {
    Array<int> kept(device, experts.size());
    const auto chosen = experts.host();
    const auto keep = kept.host();
    std::vector<int> asked(taken.begin(), taken.end());
    for (std::size_t i = 0; i < chosen.size(); ++i)
        keep[i] = chosen[i] < 0 ? 0 : capacity == 0 || asked[chosen[i]]++ < capacity;
    return kept;
}

}  // namespace expar
