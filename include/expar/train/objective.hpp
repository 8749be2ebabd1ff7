#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "expar/comm/communicator.hpp"
#include "expar/model/micro_batch.hpp"
#include "expar/model/model_options.hpp"
#include "expar/model/transformer.hpp"

namespace expar {

/// What the objective of a step came to, over all ranks and micro-batches.
struct ObjectiveValue {
    double loss = 0;          ///< mean cross entropy, nats
    double balance_loss = 0;  ///< mean over layers of the T_m-weighted mean over micro-batches of E Σ f P
    double z_loss = 0;        ///< mean over layers of mean lse²
    double objective = 0;
    double load_max_over_mean = 1;  ///< of the worst layer and micro-batch
    std::int64_t dropped = 0;
    std::int64_t choices = 0;               ///< k T over layers with experts
    std::vector<RouterStatistics> routers;  ///< of each layer with experts, of all ranks and micro-batches
};

/// The one objective of a step, of which every rank back-propagates its share:
///
///   L = (1/T_loss) Σ ce + Σ_layers [ Σ_m (T_m/T_rows) a E Σ_e f_e^m P_e^m + z (1/T_rows) Σ lse² ]
///
/// m runs over the step's micro-batches (with balance scope `rank`: over micro-batches and ranks), T_m is its tokens,
/// T_rows = Σ T_m, T_loss counts the tokens with a target; all over all ranks, known before the first backward.
class Objective {
public:
    /// `shares` are this rank's part of each micro-batch; `model` must be resolved. Collective.
    Objective(const ModelOptions& model, std::span<const MicroBatch> shares, const Communicator& world);

    /// Takes in what a forward found and returns what its backward is to be scaled by, which refers to this object
    /// until the next call. Collective, in the order of the micro-batches.
    [[nodiscard]] ObjectiveScales add(const TransformerState& state);

    /// False once a loss was not: the same on every rank.
    [[nodiscard]] bool finite() const;
    /// Of what has been added.
    [[nodiscard]] ObjectiveValue value() const;
    [[nodiscard]] std::int64_t tokens() const { return routed_tokens_; }  ///< T_rows

private:
    [[nodiscard]] ObjectiveScales scales(const std::vector<RouterStatistics>& own,
                                         const std::vector<RouterStatistics>& all);

    ModelOptions model_;
    Scope balance_scope_;
    const Communicator& world_;
    std::int64_t routed_tokens_ = 0;  // T_rows
    std::int64_t loss_tokens_ = 0;    // T_loss
    int moe_layers_ = 0;
    double loss_sum_ = 0;                               // Σ ce
    double balance_sum_ = 0;                            // Σ over layers, scopes and micro-batches of T E Σ f P
    double z_sum_ = 0;                                  // Σ over layers and tokens of lse²
    ObjectiveValue found_;                              // what is no mean
    std::vector<std::vector<double>> d_probabilities_;  // [moe_layers][E], of the micro-batch added last
};

}  // namespace expar
