#include <algorithm>
#include <cstring>

#include "expar/moe/dispatch_plan.hpp"

namespace expar {
namespace {

// Writes one header: the experts and weights of `token`'s choices that `member` serves.
void write_header(const Routing& routing, const std::vector<int>& member_of, int token, int member, Rows header) {
    const int k = routing.top_k;
    const auto columns = header.row<int>(0);
    for (int j = 0; j < k; ++j)
        columns[j] = member_of[std::size_t(token) * k + j] == member ? routing.experts_of(token)[j] : -1;
    const ConstRows weights = routing.weights.view().slice(token, 1);
    std::memcpy(columns.data() + k, weights.data(), weights.row_bytes());
}

// By member, the tokens it serves, ascending.
std::vector<std::vector<int>> tokens_by_member(const std::vector<int>& member_of, int tokens, int k, int members) {
    std::vector<std::vector<int>> result(members);
    for (int t = 0; t < tokens; ++t)
        for (int j = 0; j < k; ++j) {
            const int member = member_of[std::size_t(t) * k + j];
            if (member >= 0 && (result[member].empty() || result[member].back() != t)) result[member].push_back(t);
        }
    return result;
}

}  // namespace

int header_columns(int top_k, DType weight_dtype) {
    return top_k + top_k * int(size_of(weight_dtype) / sizeof(int));
}

SourcePlan plan_source(const Routing& routing, const PlanScope& scope) {
    const Placement& placement = *scope.placement;
    SourcePlan plan;
    plan.tokens = routing.tokens;
    plan.top_k = routing.top_k;
    plan.returns_to.resize(placement.members());
    plan.member_of.assign(std::size_t(routing.tokens) * routing.top_k, -1);
    for (int t = 0; t < routing.tokens; ++t)
        for (int j = 0; j < routing.top_k; ++j) {
            const int expert = routing.experts_of(t)[j];
            if (expert < 0 || !routing.is_kept(t, j)) continue;
            const int host = placement.host_for(scope.layer, expert, scope.first_token + t);
            plan.member_of[std::size_t(t) * routing.top_k + j] = host;
            ++plan.returns_to[host];
        }

    const auto tokens = tokens_by_member(plan.member_of, plan.tokens, plan.top_k, placement.members());
    int sent = 0;
    for (int m = 0; m < placement.members(); ++m) {
        plan.rows_to.push_back(int(tokens[m].size()));
        if (m != scope.member) sent += plan.rows_to.back();
    }
    Device& device = routing.weights.device();
    const int columns = header_columns(plan.top_k, routing.weights.dtype());
    plan.sent_tokens = Array<int>(device, sent);
    plan.headers = Matrix(device, DType::int32, sent, columns);
    plan.own_headers = Matrix(device, DType::int32, plan.rows_to[scope.member], columns);
    plan.own_tokens = tokens[scope.member];
    int row = 0;
    for (int m = 0; m < placement.members(); ++m)
        for (std::size_t i = 0; i < tokens[m].size(); ++i) {
            const int t = tokens[m][i];
            if (m != scope.member) plan.sent_tokens.host()[row] = t;
            const Rows header =
                m == scope.member ? plan.own_headers.view().slice(int(i), 1) : plan.headers.view().slice(row++, 1);
            write_header(routing, plan.member_of, t, m, header);
        }
    return plan;
}

}  // namespace expar
