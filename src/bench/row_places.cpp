#include "expar/bench/row_places.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

namespace expar {
namespace {

struct Choice {
    int source, token, choice, host, expert;
};

// By source, token, choice; choices without an expert are left out.
void for_each_choice(const RoutedLayer& routed, const std::function<void(const Choice&)>& use) {
    std::int64_t first_token = 0;
    for (int source = 0; source < int(routed.all.size()); ++source) {
        const RankRouting& routing = routed.all[source];
        for (int t = 0; t < routing.tokens; ++t)
            for (int j = 0; j < routing.top_k; ++j) {
                const int expert = routing.experts[std::size_t(t) * routing.top_k + j];
                if (expert < 0) continue;
                use({source, t, j, routed.placement->host_for(routed.layer, expert, first_token + t), expert});
            }
        first_token += routing.tokens;
    }
}

}  // namespace

RowPlaces row_places(const RoutedLayer& routed, int rank) {
    const int ranks = int(routed.all.size());
    const std::size_t experts = std::size_t(routed.placement->experts());
    std::vector<int> next(std::size_t(ranks) * experts);  // [host, expert]: rows so far, then where its next row lies
    for_each_choice(routed, [&](const Choice& c) { ++next[c.host * experts + c.expert]; });

    RowPlaces places;
    for (int host = 0; host < ranks; ++host) {
        int row = 0;
        for (const int expert : routed.placement->experts_on(routed.layer, host))
            row += std::exchange(next[host * experts + expert], row);
        places.rows_at.push_back(row);
    }
    places.tokens = routed.all[rank].tokens;
    places.top_k = routed.all[rank].top_k;
    places.host.assign(routed.all[rank].experts.size(), -1);
    places.row.assign(routed.all[rank].experts.size(), -1);
    for_each_choice(routed, [&](const Choice& c) {
        const int row = next[c.host * experts + c.expert]++;
        if (c.source != rank) return;
        const std::size_t i = std::size_t(c.token) * places.top_k + c.choice;
        places.host[i] = c.host;
        places.row[i] = row;
    });
    return places;
}

RowNumbers row_numbers(const RoutedLayer& routed, int rank) {
    const auto none = std::vector<int>(routed.all.size());
    RowNumbers numbers;
    numbers.distinct = {none, none};
    numbers.choices = {none, none};
    numbers.tokens = routed.all[rank].tokens;
    std::vector<int> last(routed.all.size(), -1);  // token of the current source that each host was given last
    int source = 0;
    std::vector<int> distinct_from(none), choices_from(none);  // each rank's to others
    for_each_choice(routed, [&](const Choice& c) {
        if (std::exchange(source, c.source) != c.source) std::ranges::fill(last, -1);
        const bool first = std::exchange(last[c.host], c.token) != c.token;
        if (c.source == rank) {
            ++numbers.kept;
            numbers.spread += first;
        }
        if (c.host == rank) {
            ++numbers.served;
            numbers.delivered += first;
        }
        if (c.source == c.host) return;
        ++choices_from[c.source];
        distinct_from[c.source] += first;
        if (c.source == rank) {
            ++numbers.choices.send[c.host];
            numbers.distinct.send[c.host] += first;
        }
        if (c.host == rank) {
            ++numbers.choices.recv[c.source];
            numbers.distinct.recv[c.source] += first;
        }
    });
    numbers.distinct.busiest = std::ranges::max(distinct_from);
    numbers.choices.busiest = std::ranges::max(choices_from);
    return numbers;
}

}  // namespace expar
