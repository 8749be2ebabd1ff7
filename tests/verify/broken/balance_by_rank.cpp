#include "expar/moe/balance.hpp"

namespace expar {

// Every rank balances its own tokens, whatever scope was asked for.
const RouterStatistics& statistics_of(Scope, const RouterStatistics& own, const RouterStatistics&) {
    return own;
}

}  // namespace expar
