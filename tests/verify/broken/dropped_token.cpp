#include <algorithm>
#include <cmath>
#include <vector>

#include "expar/moe/router.hpp"

namespace expar {

int capacity_of(double factor, int top_k, std::int64_t tokens, int experts) {
    return factor == 0 ? 0 : int(std::ceil(factor * top_k * double(tokens) / experts));
}

// The last choice of every rank finds no place.
Array<int> drop(const Array<int>& experts, int capacity, std::span<const int> taken, Device& device) {
    Array<int> kept(device, experts.size());
    std::vector<int> asked(taken.begin(), taken.end());
    for (std::size_t i = 0; i < experts.size(); ++i)
        kept.host()[i] = capacity == 0 || asked[experts.host()[i]]++ < capacity;
    if (kept.size() > 0) kept.host().back() = 0;
    return kept;
}

}  // namespace expar
