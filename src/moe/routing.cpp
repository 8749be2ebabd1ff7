#include "expar/moe/routing.hpp"

namespace expar {

int Routing::dropped() const {
    const auto chosen = experts.host();
    const auto places = kept.host();
    int count = 0;
    for (std::size_t i = 0; i < chosen.size(); ++i) count += chosen[i] >= 0 && !places[i];
    return count;
}

}  // namespace expar
