#include "expar/comm/layout.hpp"

namespace expar {

Layout::Layout(int ranks, int ep) : ranks_(ranks), ep_(ep) {
    if (ranks < 1) throw UserError(concat("layout: ", ranks, " ranks, expected at least 1"));
    if (ep < 1 || ep > ranks || ranks % ep != 0)
        throw UserError(concat("layout: ep is ", ep, ", expected a divisor of the ", ranks, " ranks"));
}

std::string Layout::describe() const {
    return concat("EP=", ep(), " x DP=", dp());
}

}  // namespace expar
