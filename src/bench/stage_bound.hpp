#pragma once

#include <optional>
#include <string_view>

#include "contender.hpp"
#include "expar/bench/row_places.hpp"

namespace expar {

/// What the stages of an algorithm are made of, on one rank.
struct Stages {
    double copied_rows = 0;           ///< read and written, together
    Region alltoallv = Region::copy;  ///< the region of AlltoallvContender that moves its rows; copy: none
};

/// Of the dispatchers that pack, exchange and unpack ("packed", "naive"); none for others, nor for sums by node.
[[nodiscard]] std::optional<Stages> stages_of(std::string_view dispatcher, std::string_view order, Region region,
                                              const RowNumbers& numbers);

/// Whether a dispatcher's stages are those that no algorithm can avoid.
[[nodiscard]] bool copies_once(std::string_view dispatcher);

}  // namespace expar
