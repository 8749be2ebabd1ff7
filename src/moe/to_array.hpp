#pragma once

#include <algorithm>
#include <vector>

#include "expar/base/buffer.hpp"

namespace expar {

inline Array<int> to_array(const std::vector<int>& values, Device& device) {
    Array<int> array(device, values.size());
    std::ranges::copy(values, array.host().begin());
    return array;
}

}  // namespace expar
