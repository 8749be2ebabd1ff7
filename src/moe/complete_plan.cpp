#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "node_sums.hpp"

namespace expar {
namespace {

// Builds what is known once the headers are here: what arrives, which expert reads it, what goes back, and where.
class Completion {
public:
    Completion(DispatchPlan& plan, const SourcePlan& source, ConstRows headers, const PlanScope& scope)
        : plan_(plan), source_(source), headers_(headers), scope_(scope) {}

    void build(DType weight_dtype, Device& device) {
        count_services();
        with_real(weight_dtype, [&]<class Real>(Real) { list_expert_rows<Real>(device); });
        list_returns(device);
        list_choice_returns(device);
        if (source_.delivery == Delivery::once_per_choice) {
            list_choice_places(device);
            if (plan_.order == CombineOrder::node_reduced) list_sums_of_places(plan_, scope_, device);
            return;
        }
        if (source_.delivery == Delivery::once_per_node) list_choice_hosts(device);
        if (plan_.order == CombineOrder::exact) return;
        list_partials(weight_dtype, device);
        if (plan_.order == CombineOrder::reduced) list_partial_returns(device);
        if (plan_.order == CombineOrder::node_reduced && source_.delivery == Delivery::once_per_member)
            list_sums_of_partials(plan_, source_.member_of, scope_, device);
    }

private:
    // Delivered rows are counted own ones first, then received ones.
    std::span<const int> header(int delivered) const {
        return delivered < plan_.own_rows ? source_.own_headers.view().row<int>(delivered)
                                          : headers_.row<int>(delivered - plan_.own_rows);
    }

    // Calls work(member, delivered row) by source member, then token.
    template <class Work>
    void for_each_delivered(Work work) const {
        int received = plan_.own_rows;
        for (int m = 0; m < int(plan_.rows.recv.size()); ++m) {
            const bool own = m == scope_.member;
            const int first = own ? 0 : std::exchange(received, received + plan_.rows.recv[m]);
            const int count = own ? plan_.own_rows : plan_.rows.recv[m];
            for (int d = first; d < first + count; ++d) work(m, d);
        }
    }

    // How many choices every expert here serves, and for whom.
    void count_services() {
        const auto here = scope_.placement->experts_on(scope_.layer, scope_.member);
        slot_of_.assign(scope_.placement->experts(), -1);
        for (std::size_t slot = 0; slot < here.size(); ++slot) slot_of_[here[slot]] = int(slot);
        plan_.expert_offsets.assign(here.size() + 1, 0);
        plan_.returns.send.assign(scope_.placement->members(), 0);
        const auto members = plan_.returns.send.size();
        plan_.served_for.assign(here.size() * members, 0);
        for_each_delivered([&](int m, int d) {
            for (const int expert : header(d).first(plan_.top_k)) {
                if (expert < 0) continue;
                if (expert >= int(slot_of_.size()) || slot_of_[expert] < 0)
                    throw Error(concat("plan of layer ", scope_.layer, ": member ", m, " asks member ", scope_.member,
                                       " for expert ", expert, ", which is not there"));
                ++plan_.expert_offsets[slot_of_[expert] + 1];
                ++plan_.served_for[std::size_t(slot_of_[expert]) * members + std::size_t(m)];
                if (m != scope_.member) ++plan_.returns.send[m];
            }
        });
        std::partial_sum(plan_.expert_offsets.begin(), plan_.expert_offsets.end(), plan_.expert_offsets.begin());
    }

    template <class Real>
    void list_expert_rows(Device& device) {
        const int served = plan_.expert_offsets.back();
        plan_.expert_rows = Array<int>(device, served);
        plan_.expert_weights = Matrix(device, dtype_of<Real>, served, 1);
        const auto rows = plan_.expert_rows.host();
        const auto weights = Rows(plan_.expert_weights.view().data(), 1, served, dtype_of<Real>).row<Real>(0);
        row_of_.assign(std::size_t(plan_.rows_here) * plan_.top_k, -1);
        std::vector<int> next = plan_.expert_offsets;  // free row of each expert
        for_each_delivered([&](int, int d) {
            const auto columns = header(d);
            const int source = d < plan_.own_rows ? source_.own_tokens[d] : plan_.tokens + d - plan_.own_rows;
            const auto* weight = reinterpret_cast<const std::byte*>(columns.data() + plan_.top_k);
            for (int j = 0; j < plan_.top_k; ++j) {
                if (columns[j] < 0) continue;
                const int row = next[slot_of_[columns[j]]]++;
                rows[row] = source;
                std::memcpy(&weights[row], weight + std::size_t(j) * sizeof(Real), sizeof(Real));
                row_of_[std::size_t(d) * plan_.top_k + j] = row;
            }
        });
    }

    void list_returns(Device& device) {
        const auto& counts = plan_.returns.send;
        plan_.returned = Array<int>(device, std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
        std::ranges::copy_if(std::span(row_of_).subspan(std::size_t(plan_.own_rows) * plan_.top_k),
                             plan_.returned.host().begin(), [](int row) { return row >= 0; });
    }

    void list_partials(DType weight_dtype, Device& device) {
        plan_.partial_choices = Array<int>(device, row_of_.size());
        std::ranges::copy(row_of_, plan_.partial_choices.host().begin());
        plan_.partial_weights = Matrix(device, weight_dtype, plan_.rows_here, plan_.top_k);
        for (int d = 0; d < plan_.rows_here; ++d) {
            const Rows out = plan_.partial_weights.view().slice(d, 1);
            std::memcpy(out.data(), header(d).data() + plan_.top_k, out.row_bytes());
        }
    }

    // Where this member, as a source, finds the output of each choice.
    void list_choice_returns(Device& device) {
        plan_.choice_returns = Array<int>(device, source_.member_of.size());
        const auto out = plan_.choice_returns.host();
        auto next = row_starts(plan_.returns.recv, plan_.expert_offsets.back());
        auto own = row_of_.begin();  // of the rows that stayed, whose choices are in this order, too
        for (std::size_t i = 0; i < out.size(); ++i) {
            const int m = source_.member_of[i];
            if (m == scope_.member) own = std::find_if(own, row_of_.end(), [](int row) { return row >= 0; });
            out[i] = m < 0 ? -1 : m == scope_.member ? *own++ : next[m]++;
        }
    }

    // The same for sums over places: of this member in its expert rows, of the others in the returns received.
    void list_choice_places(Device& device) {
        list_choice_hosts(device);
        plan_.choice_row = Array<int>(device, source_.member_of.size());
        std::ranges::transform(
            plan_.choice_returns.host(), plan_.choice_row.host().begin(),
            [served = plan_.expert_offsets.back()](int row) { return row < served ? row : row - served; });
    }

    void list_choice_hosts(Device& device) {
        plan_.choice_host = Array<int>(device, source_.member_of.size());
        std::ranges::copy(source_.member_of, plan_.choice_host.host().begin());
    }

    // Where it finds the partial sums of a token.
    void list_partial_returns(Device& device) {
        plan_.partial_returns = Array<int>(device, source_.member_of.size());
        std::ranges::copy(source_.member_of, plan_.partial_returns.host().begin());
        auto next = row_starts(plan_.rows.send, plan_.own_rows);
        next[scope_.member] = 0;
        for (int t = 0; t < plan_.tokens; ++t) {
            // members, -1 in front of them → a row of each one once, -1 behind them
            const auto places = plan_.partial_returns.host().subspan(std::size_t(t) * plan_.top_k, plan_.top_k);
            std::ranges::sort(places);
            auto place = places.begin();
            int last = -1;
            for (const int m : places)
                if (std::exchange(last, m) != m) *place++ = next[m]++;
            std::fill(place, places.end(), -1);
        }
    }

    DispatchPlan& plan_;
    const SourcePlan& source_;
    ConstRows headers_;
    const PlanScope& scope_;
    std::vector<int> slot_of_;  // [E], of each expert here; -1: elsewhere
    std::vector<int> row_of_;   // [D, k] expert row of a delivered row's choice; -1: not here
};

}  // namespace

DispatchPlan complete_plan(SourcePlan source, std::vector<int> rows_from, ConstRows headers, DType weight_dtype,
                           const PlanScope& scope) {
    const int member = scope.member;
    DispatchPlan plan;
    plan.layer = scope.layer;
    plan.member = member;
    plan.order = scope.order;
    plan.tokens = source.tokens;
    plan.top_k = source.top_k;
    plan.own_rows = source.rows_to[member];
    plan.rows_delivered = source.rows_delivered;
    plan.rows.send = source.rows_to;
    plan.rows.send[member] = 0;
    plan.rows.recv = std::move(rows_from);
    plan.rows.recv[member] = 0;
    plan.rows_here = plan.own_rows + std::accumulate(plan.rows.recv.begin(), plan.rows.recv.end(), 0);
    plan.returns.recv = source.returns_to;
    plan.returns.recv[member] = 0;
    Completion(plan, source, headers, scope).build(weight_dtype, source.own_headers.device());
    plan.sent_tokens = std::move(source.sent_tokens);
    return plan;
}

}  // namespace expar
