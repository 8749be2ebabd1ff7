#include <algorithm>
#include <cstring>
#include <utility>

#include "forwarding.hpp"

namespace expar {
namespace {

// Settles who serves every kept choice, and counts the choices and the rows that each member gets.
void choose_hosts(const Routing& routing, const PlanScope& scope, SourcePlan& plan) {
    const Placement& placement = *scope.placement;
    const auto experts = routing.experts.host();
    const auto kept = routing.kept.host();
    plan.member_of.assign(experts.size(), -1);
    plan.rows_to.resize(placement.members());
    plan.returns_to.resize(placement.members());
    std::vector<int> last_token(placement.members(), -1);  // that each member has been given
    std::size_t i = 0;
    for (int t = 0; t < plan.tokens; ++t)
        for (int j = 0; j < plan.top_k; ++j, ++i) {
            if (experts[i] < 0 || !kept[i]) continue;
            if (experts[i] >= placement.experts())
                throw Error(concat("plan of layer ", scope.layer, ": token ", t, " chose expert ", experts[i],
                                   ", expected one of ", placement.experts()));
            const int host = placement.host_for(scope.layer, experts[i], scope.first_token + t);
            plan.member_of[i] = host;
            ++plan.returns_to[host];
            const bool first = std::exchange(last_token[host], t) != t;
            plan.rows_delivered += first;
            plan.rows_to[host] += first || plan.delivery == Delivery::once_per_choice;
        }
}

// The header of a token, which names no expert yet.
std::span<int> begin_header(Rows header, ConstRows weights) {
    const auto columns = header.row<int>(0);
    std::ranges::fill(columns.first(std::size_t(weights.cols())), -1);
    std::memcpy(columns.data() + weights.cols(), weights.data(), weights.row_bytes());
    return columns;
}

// Lists the rows for every member and writes their headers.
void write_headers(const Routing& routing, int own, SourcePlan& plan) {
    const int members = int(plan.rows_to.size());
    std::vector<int> next_row(members);  // in `headers`, or, for this member itself, in `own_headers`
    int sent = 0;
    for (int m = 0; m < members; ++m)
        if (m != own) next_row[m] = std::exchange(sent, sent + plan.rows_to[m]);
    Device& device = routing.weights.device();
    const int columns = header_columns(plan.top_k, routing.weights.dtype());
    plan.sent_tokens = Array<int>(device, sent);
    plan.headers = Matrix(device, DType::int32, sent, columns);
    plan.own_headers = Matrix(device, DType::int32, plan.rows_to[own], columns);
    plan.own_tokens.reserve(plan.rows_to[own]);

    const auto experts = routing.experts.host();
    const auto sent_tokens = plan.sent_tokens.host();
    std::vector<int> last_token(members, -1);
    std::vector<std::span<int>> header(members);  // that each member's last token has
    std::size_t i = 0;
    for (int t = 0; t < plan.tokens; ++t)
        for (int j = 0; j < plan.top_k; ++j, ++i) {
            const int m = plan.member_of[i];
            if (m < 0) continue;
            const bool first = std::exchange(last_token[m], t) != t;
            if (first || plan.delivery == Delivery::once_per_choice) {
                const int row = next_row[m]++;
                Matrix& headers = m == own ? plan.own_headers : plan.headers;
                header[m] = begin_header(headers.view().slice(row, 1), routing.weights.view().slice(t, 1));
                if (m == own)
                    plan.own_tokens.push_back(t);
                else
                    sent_tokens[row] = t;
            }
            header[m][j] = experts[i];
        }
}

}  // namespace

SourcePlan plan_source(const Routing& routing, const PlanScope& scope, Delivery delivery) {
    SourcePlan plan;
    plan.delivery = delivery;
    plan.tokens = routing.tokens;
    plan.top_k = routing.top_k;
    choose_hosts(routing, scope, plan);
    write_headers(routing, scope.member, plan);
    if (delivery == Delivery::once_per_node)
        plan.carried = carried_rows(plan.member_of, plan.top_k, scope, routing.weights.device());
    return plan;
}

}  // namespace expar
