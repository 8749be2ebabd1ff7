#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {
namespace {

// One (token, choice) that an expert here serves.
struct Service {
    int delivered;  // row of delivery: own ones first, then received ones
    int choice;
};

// Builds what is known once the headers are here: what arrives, which expert reads it, what goes back, and where.
class Completion {
public:
    Completion(DispatchPlan& plan, const SourcePlan& source, ConstRows headers, const PlanScope& scope)
        : plan_(plan), source_(source), headers_(headers), scope_(scope) {}

    void build(DType weight_dtype, Device& device) {
        read_headers();
        group(weight_dtype, device);
        list_returns(device);
        list_choice_returns(device);
        if (plan_.order == CombineOrder::reduced) {
            list_partials(weight_dtype, device);
            list_partial_returns(device);
        }
    }

private:
    ConstRows header(int delivered) const {
        return delivered < plan_.own_rows ? source_.own_headers.view().slice(delivered, 1)
                                          : headers_.slice(delivered - plan_.own_rows, 1);
    }

    // Delivered rows of a source member, in the order of its tokens.
    std::pair<int, int> delivered_from(int member) const {
        if (member == scope_.member) return {0, plan_.own_rows};
        const auto& from = plan_.rows.recv;
        const int first = plan_.own_rows + std::accumulate(from.begin(), from.begin() + member, 0);
        return {first, first + from[member]};
    }

    void read_headers() {
        const auto here = scope_.placement->experts_on(scope_.layer, scope_.member);
        std::vector<int> slot_of(scope_.placement->experts(), -1);
        for (std::size_t slot = 0; slot < here.size(); ++slot) slot_of[here[slot]] = int(slot);
        services_.resize(here.size());
        for (int m = 0; m < scope_.placement->members(); ++m) {
            const auto [first, last] = delivered_from(m);
            for (int d = first; d < last; ++d) {
                const auto columns = header(d).row<int>(0);
                for (int j = 0; j < plan_.top_k; ++j) {
                    const int expert = columns[j];
                    if (expert < 0) continue;
                    if (expert >= int(slot_of.size()) || slot_of[expert] < 0)
                        throw Error(concat("plan of layer ", scope_.layer, ": member ", m, " asks member ",
                                           scope_.member, " for expert ", expert, ", which is not there"));
                    services_[slot_of[expert]].push_back({d, j});
                }
            }
        }
    }

    void group(DType weight_dtype, Device& device) {
        plan_.expert_offsets = {0};
        for (const auto& expert : services_)
            plan_.expert_offsets.push_back(plan_.expert_offsets.back() + int(expert.size()));
        const int served = plan_.expert_offsets.back();
        plan_.expert_rows = Array<int>(device, served);
        plan_.expert_weights = Matrix(device, weight_dtype, served, 1);
        row_of_.assign(std::size_t(plan_.rows_here) * plan_.top_k, -1);
        int row = 0;
        for (const auto& expert : services_)
            for (const Service& service : expert) {
                const int d = service.delivered;
                plan_.expert_rows.host()[row] =
                    d < plan_.own_rows ? source_.own_tokens[d] : plan_.tokens + d - plan_.own_rows;
                copy_weight(service, weight_dtype, plan_.expert_weights.view().slice(row, 1));
                row_of_[std::size_t(d) * plan_.top_k + service.choice] = row++;
            }
    }

    void copy_weight(const Service& service, DType dtype, Rows out) const {
        const auto columns = header(service.delivered).row<int>(0);
        const auto* weights = reinterpret_cast<const std::byte*>(columns.data() + plan_.top_k);
        std::memcpy(out.data(), weights + std::size_t(service.choice) * size_of(dtype), size_of(dtype));
    }

    void list_returns(Device& device) {
        std::vector<int> rows;
        plan_.returns.send.assign(scope_.placement->members(), 0);
        for (int m = 0; m < scope_.placement->members(); ++m) {
            if (m == scope_.member) continue;
            const auto [first, last] = delivered_from(m);
            const std::size_t before = rows.size();
            for (auto i = std::size_t(first) * plan_.top_k; i < std::size_t(last) * plan_.top_k; ++i)
                if (row_of_[i] >= 0) rows.push_back(row_of_[i]);
            plan_.returns.send[m] = int(rows.size() - before);
        }
        plan_.returned = Array<int>(device, rows.size());
        std::ranges::copy(rows, plan_.returned.host().begin());
    }

    void list_partials(DType weight_dtype, Device& device) {
        plan_.partial_choices = Array<int>(device, row_of_.size());
        std::ranges::copy(row_of_, plan_.partial_choices.host().begin());
        plan_.partial_weights = Matrix(device, weight_dtype, plan_.rows_here, plan_.top_k);
        for (int d = 0; d < plan_.rows_here; ++d) {
            const Rows out = plan_.partial_weights.view().slice(d, 1);
            std::memcpy(out.data(), header(d).row<int>(0).data() + plan_.top_k, out.row_bytes());
        }
    }

    // Where row 0 from each other member stands in Stacked{own, received}.
    static std::vector<int> starts(const std::vector<int>& counts, int own) {
        std::vector<int> result(counts.size());
        std::exclusive_scan(counts.begin(), counts.end(), result.begin(), own);
        return result;
    }

    // [T, k]: where this member, as a source, finds the output of each choice.
    void list_choice_returns(Device& device) {
        plan_.choice_returns = Array<int>(device, source_.member_of.size());
        const auto out = plan_.choice_returns.host();
        auto next = starts(plan_.returns.recv, plan_.expert_offsets.back());
        std::size_t own = 0;  // delivered row of the next own token
        for (int t = 0; t < plan_.tokens; ++t) {
            const bool is_own = own < source_.own_tokens.size() && source_.own_tokens[own] == t;
            for (int j = 0; j < plan_.top_k; ++j) {
                const std::size_t i = std::size_t(t) * plan_.top_k + j;
                const int m = source_.member_of[i];
                out[i] = m < 0 ? -1 : m == scope_.member ? row_of_[own * plan_.top_k + j] : next[m]++;
            }
            own += is_own;
        }
    }

    // [T, k]: where it finds the partial sums of each member, ascending; -1 behind the last.
    void list_partial_returns(Device& device) {
        plan_.partial_returns = Array<int>(device, source_.member_of.size());
        const auto out = plan_.partial_returns.host();
        std::ranges::fill(out, -1);
        auto next = starts(plan_.rows.send, plan_.own_rows);
        next[scope_.member] = 0;
        std::vector<int> members;
        for (int t = 0; t < plan_.tokens; ++t) {
            const auto first = std::size_t(t) * plan_.top_k;
            members.assign(source_.member_of.begin() + first, source_.member_of.begin() + first + plan_.top_k);
            std::ranges::sort(members);
            const auto repeated = std::ranges::unique(members);
            members.erase(repeated.begin(), repeated.end());
            std::size_t i = first;
            for (const int m : members)
                if (m >= 0) out[i++] = next[m]++;
        }
    }

    DispatchPlan& plan_;
    const SourcePlan& source_;
    ConstRows headers_;
    const PlanScope& scope_;
    std::vector<std::vector<Service>> services_;  // by local expert, in the order of (source member, token)
    std::vector<int> row_of_;                     // [D, k] expert row of a delivered row's choice; -1: not here
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
    plan.rows_delivered = std::accumulate(source.rows_to.begin(), source.rows_to.end(), 0);
    plan.rows.send = source.rows_to;
    plan.rows.send[member] = 0;
    plan.rows.recv = std::move(rows_from);
    plan.rows.recv[member] = 0;
    plan.rows_here = plan.own_rows + std::accumulate(plan.rows.recv.begin(), plan.rows.recv.end(), 0);
    plan.returns.recv = source.returns_to;
    plan.returns.recv[member] = 0;
    Completion(plan, source, headers, scope).build(weight_dtype, source.headers.device());
    plan.sent_tokens = std::move(source.sent_tokens);
    return plan;
}

}  // namespace expar
