#include "forwarding.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <numeric>

#include "node_sums.hpp"
#include "to_array.hpp"
#include "token_nodes.hpp"

namespace expar {
namespace {

int total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}

// Makes the lists of a member that carries, forwards and receives rows.
//
//            first                second
//  source 0 ───────► member 1                  on one node with it
//         └────────► member 2 ───────► member 3   on the other: member 2 forwards, and may need the row itself
class ForwardedPlan {
public:
    ForwardedPlan(DispatchPlan& plan, const Arrivals& arrivals, const PlanScope& scope)
        : plan_(plan),
          arrivals_(arrivals),
          scope_(scope),
          device_(plan.expert_weights.device()),
          forwarders_(scope),
          node_(scope.node_of(scope.member)),
          here_(forwarders_.members_of(node_)),
          taken_(here_.size()) {}

    void build() {
        deal_arrivals();
        count_second();
        lead_expert_rows();
        if (plan_.order != CombineOrder::node_reduced) return;
        count_way_back();
        order_partials();
        list_sums();
        list_returns();
    }

private:
    [[nodiscard]] bool is_here(int member) const { return scope_.node_of(member) == node_; }
    [[nodiscard]] int place_of(int member) const { return int(std::ranges::find(here_, member) - here_.begin()); }
    [[nodiscard]] const std::vector<int>& own_taken() const { return taken_[std::size_t(place_of(scope_.member))]; }

    // Calls work(i) for the place i of each member here that the row is for, ascending.
    template <class Work>
    void for_each_served(int crossing, Work work) const {
        const auto words = arrivals_.served.row<int>(crossing);
        for (std::size_t w = 0; w < words.size(); ++w)
            for (auto left = std::uint32_t(words[w]); left != 0; left &= left - 1)
                work(int(w) * served_bits + std::countr_zero(left));
    }

    // Calls work(source) for those on other nodes whose rows `forwarder` passes on here.
    template <class Work>
    void for_each_source_over(int forwarder, Work work) const {
        for (int source = 0; source < scope_.placement->members(); ++source)
            if (!is_here(source) && forwarders_.forwarder(source, node_) == forwarder) work(source);
    }

    // Which rows, as they came, each member here gets of those that came from other nodes.
    void deal_arrivals() {
        int row = 0;
        for (int source = 0; source < int(arrivals_.rows_from.size()); ++source) {
            const int end = row + arrivals_.rows_from[std::size_t(source)];
            if (!is_here(source))
                for (int r = row; r < end; ++r) deal(source, r);
            row = end;
        }
    }
    void deal(int source, int row) {
        int members = 0;
        for_each_served(crossing_++, [&](int place) {
            if (place >= int(here_.size()) || ++members > plan_.top_k)
                throw Error(concat("plan of layer ", plan_.layer, ": member ", source, " carries a row to member ",
                                   scope_.member, " for place ", place, " of ", here_.size(), ", or for more than ",
                                   plan_.top_k, " members"));
            taken_[std::size_t(place)].push_back(row);
        });
    }

    void count_second() {
        Forwarding& forwarding = plan_.forwarding;
        forwarding.second = {std::vector<int>(plan_.rows.recv.size()), std::vector<int>(plan_.rows.recv.size())};
        std::vector<int> forwarded;
        for (std::size_t i = 0; i < here_.size(); ++i) {
            const int m = here_[i];
            int expected = 0;
            for_each_source_over(m, [&](int source) { expected += plan_.rows.recv[std::size_t(source)]; });
            if (m == scope_.member) {
                if (int(taken_[i].size()) != expected)
                    throw Error(concat("plan of layer ", plan_.layer, ": ", taken_[i].size(),
                                       " rows come from other nodes for member ", m, ", their headers say ", expected));
                continue;
            }
            forwarding.second.send[std::size_t(m)] = int(taken_[i].size());
            forwarding.second.recv[std::size_t(m)] = expected;
            forwarded.insert(forwarded.end(), taken_[i].begin(), taken_[i].end());
        }
        forwarding.forwarded = to_array(forwarded, device_);
    }

    // Delivered rows count by source; here they lie as they came.
    void lead_expert_rows() {
        const Forwarding& forwarding = plan_.forwarding;
        const auto first = row_starts(forwarding.first.recv, 0);
        auto second = row_starts(forwarding.second.recv, total(forwarding.first.recv));
        auto own = own_taken().begin();
        std::vector<int> row_of;  // [received]
        for (int source = 0; source < int(plan_.rows.recv.size()); ++source) {
            const int over = forwarders_.forwarder(source, node_);
            for (int i = 0; i < plan_.rows.recv[std::size_t(source)]; ++i)
                row_of.push_back(is_here(source)         ? first[std::size_t(source)] + i
                                 : over == scope_.member ? *own++
                                                         : second[std::size_t(over)]++);
        }
        for (int& row : plan_.expert_rows.host())
            if (row >= plan_.tokens) row = plan_.tokens + row_of[std::size_t(row - plan_.tokens)];
    }

    // Partials go back inside the node, to where their rows came from last; sums between nodes, as the rows came.
    void count_way_back() {
        Forwarding& forwarding = plan_.forwarding;
        const auto members = plan_.rows.recv.size();
        forwarding.partials = {std::vector<int>(members), std::vector<int>(members)};
        forwarding.sums = forwarding.partials;
        for (std::size_t m = 0; m < members; ++m) {
            const RowCounts &first = forwarding.first, &second = forwarding.second;
            RowCounts& back = is_here(int(m)) ? forwarding.partials : forwarding.sums;
            back.send[m] = first.recv[m] + second.recv[m];
            back.recv[m] = first.send[m] + second.send[m];
        }
    }

    // Delivered rows, by source → those that stay, own ones first, then by the member that they go back to.
    void order_partials() {
        const auto starts = row_starts(plan_.rows.recv, plan_.own_rows);
        std::vector<int> order(std::size_t(plan_.own_rows));
        std::iota(order.begin(), order.end(), 0);
        const auto add = [&](int source) {
            for (int i = 0; i < plan_.rows.recv[std::size_t(source)]; ++i)
                order.push_back(starts[std::size_t(source)] + i);
        };
        for_each_source_over(scope_.member, add);
        plan_.forwarding.kept_partials = int(order.size());
        for (const int m : here_) {
            if (m == scope_.member) continue;
            add(m);
            for_each_source_over(m, add);
        }
        reorder(order);
    }
    void reorder(const std::vector<int>& order) {
        const auto top_k = std::size_t(plan_.top_k);
        Array<int> choices(device_, plan_.partial_choices.size());
        Matrix weights(device_, plan_.partial_weights.dtype(), plan_.partial_weights.rows(), plan_.top_k);
        for (std::size_t i = 0; i < order.size(); ++i) {
            const auto from = std::size_t(order[i]);
            std::ranges::copy(plan_.partial_choices.host().subspan(from * top_k, top_k),
                              choices.host().subspan(i * top_k).begin());
            const Rows to = weights.view().slice(int(i), 1);
            std::memcpy(to.data(), plan_.partial_weights.view().slice(order[i], 1).data(), to.row_bytes());
        }
        plan_.partial_choices = std::move(choices);
        plan_.partial_weights = std::move(weights);
    }

    // Of own tokens on this node, then of the rows that came to be forwarded.
    void list_sums() {
        std::vector<int> next = row_starts(plan_.forwarding.partials.recv, plan_.forwarding.kept_partials);
        next[std::size_t(scope_.member)] = 0;
        std::vector<int> partials;
        const auto add = [&](std::span<const int> members) {
            for (const int m : members) partials.push_back(next[std::size_t(m)]++);
            partials.insert(partials.end(), std::size_t(plan_.top_k) - members.size(), -1);
        };
        TokenNodes nodes(scope_);
        for (int t = 0; t < plan_.tokens; ++t)
            nodes.for_each(hosts_of(t), [&](int node, std::span<const int> members) {
                if (node != node_) return;
                add(members);
                ++plan_.node_sums.own;
            });
        std::vector<int> members;
        for (int crossing = 0; crossing < crossing_; ++crossing) {
            members.clear();
            for_each_served(crossing, [&](int place) { members.push_back(here_[std::size_t(place)]); });
            add(members);
        }
        plan_.node_sums.partials = to_array(partials, device_);
    }

    void list_returns() {
        std::vector<int> next = row_starts(plan_.forwarding.sums.recv, plan_.node_sums.own);
        int own = 0;
        std::vector<int> returns;
        TokenNodes nodes(scope_);
        for (int t = 0; t < plan_.tokens; ++t) {
            nodes.for_each(hosts_of(t), [&](int node, std::span<const int>) {
                const int over = forwarders_.forwarder(scope_.member, node);
                returns.push_back(node == node_ ? own++ : next[std::size_t(over)]++);
            });
            returns.resize(std::size_t(t + 1) * std::size_t(plan_.top_k), -1);
        }
        plan_.node_sums.returns = to_array(returns, device_);
    }

    [[nodiscard]] std::span<const int> hosts_of(int token) const {
        const auto top_k = std::size_t(plan_.top_k);
        return std::as_const(plan_.choice_host).host().subspan(std::size_t(token) * top_k, top_k);
    }

    DispatchPlan& plan_;
    const Arrivals& arrivals_;
    const PlanScope& scope_;
    Device& device_;
    Forwarders forwarders_;
    int node_;
    const std::vector<int>& here_;         // the members of this node
    std::vector<std::vector<int>> taken_;  // [here]: rows that came from other nodes for each
    int crossing_ = 0;                     // rows that came from other nodes
};

}  // namespace

void add_forwarding(DispatchPlan& plan, CarriedRows carried, const Arrivals& arrivals, const PlanScope& scope) {
    plan.sent_tokens = std::move(carried.tokens);
    plan.forwarding.first = {std::move(carried.rows_to), arrivals.rows_from};
    ForwardedPlan(plan, arrivals, scope).build();
}

}  // namespace expar
