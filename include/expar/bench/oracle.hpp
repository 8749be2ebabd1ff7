#pragma once

#include <span>
#include <vector>

#include "expar/base/matrix.hpp"
#include "expar/bench/skew.hpp"
#include "expar/comm/topology.hpp"
#include "expar/moe/dispatch_plan.hpp"

namespace expar {

/// What every row of a dispatch must be, from routing and placement alone: rows that any rank can make again from
/// (rank, token, column), and experts each of which has a transform of its own, so that a row that went astray cannot
/// pass.
///
/// One rank's: a source of tokens and a host of experts at once. Numbers are small enough for all sums to be exact, in
/// whatever order they are added, so that every check compares bits: bfloat16, float32 or float64 rows of at most 8192
/// columns, k at most 16. Views lie in the host's memory. The checks count wrong rows; all of them are wrong when there
/// are too few or too many, or when dtype or width differ.
class DispatchOracle {
public:
    /// Shape and type of the rows that move.
    struct RowShape {
        int hidden = 0;
        DType dtype = DType::bfloat16;
    };
    /// Of the topology only node_reduced knows; without ranks: one node.
    DispatchOracle(const RoutedLayer& routed, int member, CombineOrder order, RowShape rows, Topology topology = {});

    /// Rows that the experts here must get: A.
    [[nodiscard]] int expert_rows() const { return int(here_.size()); }
    [[nodiscard]] int tokens() const { return tokens_; }

    // What goes in.
    void fill_tokens(Rows x) const;              ///< [T, H]
    void fill_output_gradients(Rows d_y) const;  ///< [T, H]
    // What happens on the host, row by row: the rows lie in the order of the plan.
    void apply_experts(ConstRows rows, Rows outputs) const;               ///< [A, H] → [A, H]
    void apply_experts_backward(ConstRows d_outputs, Rows d_rows) const;  ///< [A, H] → [A, H]

    // What must come out.
    [[nodiscard]] int wrong_expert_rows(ConstRows rows) const;     ///< dispatch: [A, H]
    [[nodiscard]] int wrong_combined(ConstRows y) const;           ///< combine: [T, H]
    [[nodiscard]] int wrong_d_outputs(ConstRows d_outputs) const;  ///< combine backward: [A, H]
    [[nodiscard]] int wrong_d_x(ConstRows d_x) const;              ///< dispatch backward: [T, H]
    // Σ_c output · d_y of each choice.
    [[nodiscard]] int wrong_d_weights_here(ConstRows d_weights) const;  ///< on a host that computes them: [A, 1]
    [[nodiscard]] int wrong_d_weights(ConstRows d_weights) const;       ///< at the source: [T, k]

private:
    struct ExpertRow {
        int expert, source, token;
        float weight;
    };
    struct Choice {
        int expert = -1, host = -1;  ///< -1: none
        float weight = 0;
    };
    enum class Sum { weighted_outputs, d_rows };
    void list_choices(const RoutedLayer& routed);
    void list_expert_rows(const RoutedLayer& routed);
    void fill_own(Rows rows, int pattern) const;
    void add_term(Sum sum, int token, const Choice& choice, std::span<float> to) const;
    void sum_choices(Sum sum, int token, std::span<float> to) const;
    void add_partials(Sum sum, int token, int node, std::span<float> to) const;
    [[nodiscard]] int node_of(int member) const;
    [[nodiscard]] float d_weight(int expert, int source, int token) const;
    template <class Expected>
    [[nodiscard]] int wrong_rows(ConstRows found, ConstRows wanted, Expected&& expected) const;

    int member_;
    CombineOrder order_;
    Topology topology_;
    RowShape shape_;
    int tokens_ = 0, top_k_ = 0;
    std::vector<ExpertRow> here_;  ///< [A], by slot, source, token, choice
    std::vector<Choice> choices_;  ///< [T, k] of this member's tokens
};

}  // namespace expar
