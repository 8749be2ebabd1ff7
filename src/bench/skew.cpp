#include "expar/bench/skew.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "expar/base/error.hpp"

namespace expar {
namespace {

// Calls work(source, token, experts, hosts) for every token of all ranks; hosts[j] is -1 where there is no choice.
template <class Work>
void for_each_token(const RoutedLayer& routed, Work&& work) {
    std::int64_t global_token = 0;
    std::vector<int> hosts;
    for (int source = 0; source < int(routed.all.size()); ++source)
        for (int t = 0; t < routed.all[source].tokens; ++t, ++global_token) {
            const auto experts = routed.all[source].experts_of(t);
            hosts.clear();
            for (const int expert : experts)
                hosts.push_back(expert < 0 ? -1 : routed.placement->host_for(routed.layer, expert, global_token));
            work(source, experts, std::span<const int>(hosts));
        }
}

double max_over_mean(std::span<const std::int64_t> loads) {
    const auto sum = std::accumulate(loads.begin(), loads.end(), std::int64_t{0});
    return sum == 0 ? 1 : double(std::ranges::max(loads)) * double(loads.size()) / double(sum);
}

// Rows by who sends and who receives them.
struct Ends {
    explicit Ends(int count) : out(count), in(count) {}
    void add(int from, int to) {
        ++out[from];
        ++in[to];
    }
    std::int64_t total() const { return std::accumulate(out.begin(), out.end(), std::int64_t{0}); }
    std::int64_t busiest() const { return std::max(std::ranges::max(out), std::ranges::max(in)); }
    std::vector<std::int64_t> out, in;
};

struct AllEnds {
    AllEnds(int ranks, int nodes) : x0(nodes), x1(nodes), x2(nodes), y0(ranks), y1(ranks) {}
    Ends x0, x1, x2, y0, y1;
};

// The first time that a token goes there: ids[j] is not among those before it.
bool is_first(std::span<const int> ids, std::size_t j) {
    return std::find(ids.begin(), ids.begin() + std::ptrdiff_t(j), ids[j]) == ids.begin() + std::ptrdiff_t(j);
}

void count_token(int source, std::span<const int> hosts, const Topology& topology, AllEnds& ends) {
    std::vector<int> nodes;
    for (const int host : hosts) nodes.push_back(host < 0 ? -1 : topology.node_of[host]);
    const int home = topology.node_of[source];
    for (std::size_t j = 0; j < hosts.size(); ++j) {
        if (hosts[j] < 0) continue;
        const bool new_rank = is_first(hosts, j), new_node = is_first(nodes, j);
        if (hosts[j] != source) ends.y0.add(source, hosts[j]);
        if (hosts[j] != source && new_rank) ends.y1.add(source, hosts[j]);
        if (nodes[j] == home) continue;
        ends.x0.add(home, nodes[j]);
        if (new_rank) ends.x1.add(home, nodes[j]);
        if (new_node) ends.x2.add(home, nodes[j]);
    }
}

}  // namespace

Skew skew_of(const RoutedLayer& routed) {
    std::vector<std::int64_t> of_rank(routed.placement->members()), of_expert(routed.placement->experts());
    for_each_token(routed, [&](int, std::span<const int> experts, std::span<const int> hosts) {
        for (std::size_t j = 0; j < experts.size(); ++j)
            if (experts[j] >= 0) {
                ++of_expert[experts[j]];
                ++of_rank[hosts[j]];
            }
    });
    return {max_over_mean(of_rank), max_over_mean(of_expert), gini_of(of_rank), gini_of(of_expert),
            double(std::ranges::count(of_expert, 0)) / double(of_expert.size())};
}

MovedRows moved_rows(const RoutedLayer& routed, const Topology& topology) {
    const int ranks = int(routed.all.size());
    if (routed.placement->members() != ranks || int(topology.node_of.size()) != ranks)
        throw Error(concat("moved rows: routing of ", ranks, " ranks, placement of ", routed.placement->members(),
                           ", topology of ", topology.node_of.size(), ", expected as many"));
    AllEnds ends(ranks, topology.nodes());
    for_each_token(routed, [&](int source, std::span<const int>, std::span<const int> hosts) {
        count_token(source, hosts, topology, ends);
    });
    return {{ends.x0.total(), ends.x1.total(), ends.x2.total(), ends.y0.total(), ends.y1.total()},
            {ends.x0.busiest(), ends.x1.busiest(), ends.x2.busiest(), ends.y0.busiest(), ends.y1.busiest()}};
}

// With loads ascending, Σ_i Σ_j |a_i - a_j| = 2 Σ_i (2 i - n + 1) a_i.
double gini_of(std::span<const std::int64_t> loads) {
    std::vector<std::int64_t> sorted(loads.begin(), loads.end());
    std::ranges::sort(sorted);
    const auto n = std::int64_t(sorted.size());
    double sum = 0, differences = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        sum += double(sorted[i]);
        differences += 2.0 * double(2 * i - n + 1) * double(sorted[i]);
    }
    return sum == 0 ? 0 : differences / (2 * double(n) * sum);
}

double uniform_groups_touched(int experts, int top_k, int groups) {
    const int others = experts - experts / groups;
    double missed = 1;  // C(others, k) / C(experts, k): no choice lies in a given group
    for (int j = 0; j < top_k; ++j) missed *= std::max(0.0, double(others - j)) / double(experts - j);
    return groups * (1 - missed);
}

}  // namespace expar
