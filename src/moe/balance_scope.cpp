#include "expar/moe/balance.hpp"

namespace expar {

const RouterStatistics& statistics_of(Scope scope, const RouterStatistics& own, const RouterStatistics& all) {
    return scope == Scope::all ? all : own;
}

}  // namespace expar
