#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/base/names.hpp"
#include "expar/comm/exchange.hpp"
#include "expar/comm/topology.hpp"
#include "expar/moe/placement.hpp"
#include "expar/moe/routing.hpp"

namespace expar {

/// In which order a token's outputs are weighted, added and rounded. Same order, same bits, whatever moves the rows.
enum class CombineOrder {
    exact,    ///< every unweighted output travels; the source adds them in the order of the choices
    reduced,  ///< a rank adds its own choices, one row per token travels; the source adds in ascending rank
    /// As reduced, then the ranks' rows are added by node, in ascending rank, and rounded once more; the source adds
    /// those in ascending node.
    node_reduced,
};
/// For --help, and for tests that loop over all of them.
inline constexpr std::array combine_orders = {Named<CombineOrder>{"exact", CombineOrder::exact},
                                              Named<CombineOrder>{"reduced", CombineOrder::reduced},
                                              Named<CombineOrder>{"node_reduced", CombineOrder::node_reduced}};
[[nodiscard]] CombineOrder combine_order(std::string_view name);  ///< throws UserError that lists the known names
[[nodiscard]] std::string_view name_of(CombineOrder order);

/// The int32 columns of a header, which tells a host how to serve a token's row: k expert ids, -1 where a choice is not
/// for this host, then the k weights bit for bit.
[[nodiscard]] int header_columns(int top_k, DType weight_dtype);

/// How often a token's row travels, when several of its choices are served in one place.
enum class Delivery {
    once_per_choice,
    once_per_member,
    once_per_node,  ///< to a forwarder there; once to each member of the own node
};

/// What a member sends first where a row goes once to each node: to members of its own node what is for them, to one
/// of each other node what that one forwards.
struct CarriedRows {
    std::vector<int> rows_to;  ///< [members], without own rows
    Array<int> tokens;         ///< [rows], by member, then token
    Matrix served;  ///< int32 [rows to other nodes, words]: bit i: for the node's i-th member in ascending rank
};

/// What a member of the EP group decides alone, from its routing.
struct SourcePlan {
    int tokens = 0;               ///< T
    int top_k = 0;                ///< k
    std::vector<int> rows_to;     ///< [members], rows as delivered, this member's own included
    int rows_delivered = 0;       ///< distinct (token, member) rows
    std::vector<int> returns_to;  ///< [members], kept choices served by each member
    std::vector<int> member_of;   ///< [T, k], who serves the choice; -1: nobody
    Array<int> sent_tokens;       ///< [rows to others], by member, then token
    Matrix headers;               ///< int32 [rows to others, header_columns], in the same order
    Matrix own_headers;           ///< int32 [own rows, header_columns], by token
    std::vector<int> own_tokens;  ///< [own rows]
    Delivery delivery = Delivery::once_per_member;
    CarriedRows carried;  ///< of once_per_node
};

/// How delivered rows reach their members in two stages, by way of one member of each node. Empty: they go straight.
struct Forwarding {
    RowCounts first;       ///< rows that are carried
    RowCounts second;      ///< between members of a node
    Array<int> forwarded;  ///< [rows of the second] in what the first brought, by member, then as they came

    // The way back under node_reduced, also in two stages.
    RowCounts partials;     ///< between members of a node: to the source, or to who forwards its rows here
    int kept_partials = 0;  ///< of the D, the first: those that no other member adds up
    RowCounts sums;         ///< of nodes, back to the sources

    [[nodiscard]] bool empty() const { return first.send.empty(); }
};

/// The sums of a token's partials on each node, under node_reduced: n of them are made here.
struct NodeSums {
    int own = 0;          ///< of the n, the first: for tokens of this member
    Array<int> partials;  ///< [n, k] in Stacked{partials that stay, received}, by ascending member; -1 behind the last
    Array<int> returns;   ///< [T, k] in Stacked{own sums, received}, by ascending node; -1 behind the last

    // For dispatchers that sum over places, instead of partials.
    Array<int> tokens;       ///< [n]
    Array<int> choice_host;  ///< [n, k] of the plan's, -1 where another node serves the choice
    Array<int> choice_row;   ///< [n, k]
};

/// Who gets which rows, as one member of an EP group sees it: the plan of one dispatch, its combine, and both
/// backwards.
///
/// A plain value; makes no MPI call. Rows that stay on the rank are never copied for the sake of moving: lists index
/// what is here and what was received as one, Stacked.
struct DispatchPlan {
    int layer = 0;
    int member = 0;
    CombineOrder order = CombineOrder::exact;
    int tokens = 0;  ///< T of this member
    int top_k = 0;   ///< k

    // Dispatch: rows, one per distinct (token, member), or per choice.
    RowCounts rows;          ///< as delivered, without own rows
    Array<int> sent_tokens;  ///< [rows sent], the token of each row that leaves this member, by member, then token
    Forwarding forwarding;   ///< empty: rows travel straight
    int rows_here = 0;       ///< D: delivered rows, own ones, then received ones by source member, then token
    int own_rows = 0;        ///< of the D
    int rows_delivered = 0;  ///< that this member's tokens caused on all members, own ones included

    // Experts: one row per (token, choice) served here, A in all, by local expert, then source member, token, choice.
    std::vector<int> expert_offsets;  ///< [local experts + 1]
    std::vector<int> served_for;      ///< [local experts, members], the rows of each source, the first member's first
    Array<int> expert_rows;           ///< [A] in Stacked{x, received}, where the second stage's rows follow the first's
    Matrix expert_weights;            ///< [A, 1]

    // Combine under exact, and the gradients of the weights: one row per (token, choice).
    RowCounts returns;          ///< without own ones
    Array<int> returned;        ///< [returns to others] in expert rows, by source member, token, choice
    Array<int> choice_returns;  ///< [T, k] in Stacked{expert rows, received returns}; -1: dropped or none

    // Combine under reduced and node_reduced, else empty: one partial sum per delivered row, which goes back the way
    // the row came.
    Array<int> partial_choices;  ///< [D, k] in expert rows, by choice; -1: not served here
    Matrix partial_weights;      ///< [D, k]
    Array<int> partial_returns;  ///< [T, k] in Stacked{own partials, received}, by ascending member; -1 behind the last
    NodeSums node_sums;

    // Where the source finds each choice, for dispatchers that sum over places, else empty.
    Array<int> choice_host;    ///< [T, k], the member that serves it; -1: dropped or none
    Array<int> choice_row;     ///< [T, k], in that member's expert rows, or, by messages, in what was received of them
    std::vector<int> rows_at;  ///< [members], the expert rows of each: of counted plans alone, which have none of the
                               ///< lists above but returns
    Matrix choice_weights;     ///< [T, k], of counted plans
    int choices = 0;           ///< of the T k, those that are served
    std::uint32_t number = 0;  ///< of a counted plan, as all members count
};

/// Where and how a plan is made, beside the routing.
struct PlanScope {
    const Placement* placement = nullptr;
    int layer = 0;
    int member = 0;  ///< this rank's place in its EP group
    CombineOrder order = CombineOrder::exact;
    std::int64_t first_token = 0;  ///< global index of the first token here, which decides between copies
    std::size_t row_bytes = 0;     ///< of a row that will travel, so that memory for it is there early; 0: not known
    const Topology* topology = nullptr;  ///< of the members: dispatchers put their own here; null: all on one node

    [[nodiscard]] int node_of(int other) const { return topology ? topology->node_of[std::size_t(other)] : 0; }
};

/// The source's half. -1 and dropped choices are left out. Throws Error, naming token and expert, when there is no such
/// expert.
[[nodiscard]] SourcePlan plan_source(const Routing& routing, const PlanScope& scope,
                                     Delivery delivery = Delivery::once_per_member);

/// Completes the plan from the headers received: rows_from[m] of them from each other member, in order, 0 from itself.
/// Throws Error, naming member and expert, when a header asks for an expert that is not here.
[[nodiscard]] DispatchPlan complete_plan(SourcePlan source, std::vector<int> rows_from, ConstRows headers,
                                         DType weight_dtype, const PlanScope& scope);

}  // namespace expar
