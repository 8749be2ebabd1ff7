#pragma once

#include <string>

#include "expar/base/error.hpp"

namespace expar {

/// Which ranks hold one set of experts between them (an EP group), and which hold the same part of it.
///
/// ranks = ep × dp; EP groups are consecutive ranks, so that they fill a node first. A value: makes no MPI call.
class Layout {
public:
    Layout() = default;
    /// Throws UserError unless 1 <= ep <= ranks and ep divides ranks.
    Layout(int ranks, int ep);

    [[nodiscard]] int ranks() const { return ranks_; }
    [[nodiscard]] int ep() const { return ep_; }
    [[nodiscard]] int dp() const { return ranks_ / ep_; }
    [[nodiscard]] int group_of(int rank) const { return rank / ep_; }
    [[nodiscard]] int member_of(int rank) const { return rank % ep_; }  ///< place within the EP group
    [[nodiscard]] int rank_of(int group, int member) const { return group * ep_ + member; }
    [[nodiscard]] std::string describe() const;  ///< "EP=2 x DP=2"

private:
    int ranks_ = 1;
    int ep_ = 1;
};

}  // namespace expar
