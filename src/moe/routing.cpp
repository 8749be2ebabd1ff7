#include "expar/moe/routing.hpp"

namespace expar {

int Routing::dropped() const {
    int count = 0;
    for (std::size_t i = 0; i < experts.size(); ++i) count += experts.host()[i] >= 0 && !kept.host()[i];
    return count;
}

}  // namespace expar
