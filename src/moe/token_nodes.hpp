#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// The nodes that serve a token.
class TokenNodes {
public:
    explicit TokenNodes(const PlanScope& scope) : scope_(scope) {}

    /// Calls work(node, members) by ascending node: those of its members, ascending, that serve a choice. `hosts` of
    /// the choices; -1: nobody.
    template <class Work>
    void for_each(std::span<const int> hosts, Work work) {
        members_.clear();
        std::ranges::copy_if(hosts, std::back_inserter(members_), [](int host) { return host >= 0; });
        std::ranges::sort(members_);
        members_.erase(std::ranges::unique(members_).begin(), members_.end());
        std::ranges::stable_sort(members_, {}, [this](int member) { return scope_.node_of(member); });
        for (auto first = members_.begin(); first != members_.end();) {
            const int node = scope_.node_of(*first);
            const auto last = std::find_if(first, members_.end(), [&](int m) { return scope_.node_of(m) != node; });
            work(node, std::span<const int>(first, last));
            first = last;
        }
    }

private:
    const PlanScope& scope_;
    std::vector<int> members_;
};

}  // namespace expar
