#include "node_sums.hpp"

#include <algorithm>

#include "to_array.hpp"
#include "token_nodes.hpp"

namespace expar {
namespace {

std::span<const int> choices_of(std::span<const int> all, int token, int top_k) {
    return all.subspan(std::size_t(token) * std::size_t(top_k), std::size_t(top_k));
}

// The sums lie by token, then node. Calls work(token, members) for each.
template <class Work>
void list_sums(DispatchPlan& plan, std::span<const int> member_of, const PlanScope& scope, Device& device, Work work) {
    plan.node_sums.returns = Array<int>(device, member_of.size());
    const auto returns = plan.node_sums.returns.host();
    std::ranges::fill(returns, -1);
    TokenNodes nodes(scope);
    int sums = 0;
    for (int t = 0; t < plan.tokens; ++t) {
        auto next = returns.begin() + std::ptrdiff_t(t) * plan.top_k;
        nodes.for_each(choices_of(member_of, t, plan.top_k), [&](int, std::span<const int> members) {
            *next++ = sums++;
            work(t, members);
        });
    }
    plan.node_sums.own = sums;
}

}  // namespace

void list_sums_of_partials(DispatchPlan& plan, std::span<const int> member_of, const PlanScope& scope, Device& device) {
    std::vector<int> next = row_starts(plan.rows.send, plan.own_rows);
    next[std::size_t(plan.member)] = 0;
    std::vector<int> partials;
    list_sums(plan, member_of, scope, device, [&](int, std::span<const int> members) {
        for (const int m : members) partials.push_back(next[std::size_t(m)]++);
        partials.insert(partials.end(), std::size_t(plan.top_k) - members.size(), -1);
    });
    plan.node_sums.partials = to_array(partials, device);
}

void list_sums_of_places(DispatchPlan& plan, const PlanScope& scope, Device& device) {
    const std::span<const int> all_hosts = plan.choice_host.host(), all_rows = plan.choice_row.host();
    std::vector<int> tokens, hosts, rows;
    list_sums(plan, all_hosts, scope, device, [&](int t, std::span<const int> members) {
        tokens.push_back(t);
        for (const int host : choices_of(all_hosts, t, plan.top_k))
            hosts.push_back(std::ranges::count(members, host) > 0 ? host : -1);
        std::ranges::copy(choices_of(all_rows, t, plan.top_k), std::back_inserter(rows));
    });
    plan.node_sums.tokens = to_array(tokens, device);
    plan.node_sums.choice_host = to_array(hosts, device);
    plan.node_sums.choice_row = to_array(rows, device);
}

std::int64_t sum_by_node(Device& device, const DispatchPlan& plan, Places places, ConstRows weights, Rows out) {
    if (plan.tokens == 0) return 0;
    const NodeSums& nodes = plan.node_sums;
    const RowOperations& rows = device.rows();
    places.base_of = nodes.choice_host.view();
    places.row_of = nodes.choice_row.view();
    Matrix factors(device, weights.dtype(), weights.rows() > 0 ? nodes.own : 0, plan.top_k);
    if (factors.rows() > 0) rows.gather(weights, nodes.tokens.view(), factors, device.stream());
    Matrix sums(device, places.dtype, nodes.own, places.cols);
    rows.weighted_sum(places, factors, {RowOperations::Order::by_base}, sums, device.stream());
    rows.weighted_sum(Stacked(sums), nodes.returns.view(), {}, out, device.stream());
    return std::int64_t(sums.view().bytes() + factors.view().bytes());
}

}  // namespace expar
