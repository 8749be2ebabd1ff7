#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "expar/moe/balance.hpp"
#include "expar/moe/dispatcher.hpp"
#include "expar/moe/experts.hpp"
#include "expar/moe/router.hpp"
#include "expar/observe/phase_clock.hpp"

namespace expar {

/// How a shared expert, which serves every token, joins the chosen ones.
enum class SharedExpert {
    none,
    sum,    ///< y += shared(x)  (DeepSeek)
    gated,  ///< y += sigmoid(x · g) shared(x)  (Qwen2)
};

struct MoeOptions {
    int hidden = 0;
    int intermediate = 0;
    int experts = 0;
    int top_k = 0;
    Activation activation = Activation::swiglu;
    RouterConvention convention = RouterConvention::softmax_renormalized;
    double router_noise = 0;
    SharedExpert shared = SharedExpert::none;
    int shared_intermediate = 0;
    double capacity_factor = 0;  ///< 0: dropless
    Scope capacity_scope = Scope::all;
    CombineOrder order = CombineOrder::exact;
    double initial_std = 0.02;
};

/// Every block of a layer in the order that all ranks agree on: router, the shared expert with its gate if there is
/// one, then expert 0 … E-1.
[[nodiscard]] std::vector<BlockSpec> moe_blocks(const MoeOptions& options, int layer);

/// What a layer communicates with. All must outlive it.
struct MoeRuntime {
    Device* device = nullptr;
    Dispatcher* dispatcher = nullptr;     ///< of the EP group
    const Communicator* world = nullptr;  ///< all ranks: what capacity is shared over
    const Placement* placement = nullptr;
    int member = 0;               ///< this rank's place in its EP group
    PhaseClock* clock = nullptr;  ///< null: time is not measured
    /// Called now and then during backward, so that what travels meanwhile goes on; empty: nothing does.
    std::function<void()> meanwhile{};
    /// In how many parts the tokens of a layer travel, so that some do while the experts compute on others; the same on
    /// all ranks.
    int chunks = 1;
};

/// A run of a layer's tokens, which travels on its own.
struct MoeChunk {
    int first_token = 0;  ///< of this rank's
    DispatchPlan plan;
    LentRows expert_rows;
    LentRows outputs;
    ExpertsState experts;
};

/// What the backward of a forward needs. The lent rows go back to the dispatcher with it.
struct MoeState {
    Matrix logits;
    Weighing weighing;
    Routing routing;
    std::vector<MoeChunk> chunks;
    int rows_served = 0;  ///< by this rank's experts
    Matrix shared_logit, shared_out;
    ExpertsState shared;
    RouterStatistics statistics;  ///< of this rank
};

/// A router and the experts it chooses from, spread over an EP group: y_t = Σ_j w_tj expert_j(x_t) (+ a shared expert).
///
/// The residual is the caller's. forward and backward are collective over the EP group (and over all ranks where the
/// capacity's scope is `all`), also for ranks without tokens. forward keeps nothing: its state is a value.
///
/// With several chunks, one is dispatched while the experts compute on the one before and the one before that is
/// combined, forward and backward; last of all come the gradients of the experts' weights, over all rows in the order
/// that they have in one chunk, so that every bit is as with one. What travels goes on in the pauses of the device, if
/// it is Pausing, and while ranks wait.
class MoeLayer {
public:
    /// `blocks` are this rank's, in the order of moe_blocks() without the experts that are hosted elsewhere.
    MoeLayer(const MoeOptions& options, int layer, const MoeRuntime& runtime, std::vector<ParameterBlock*> blocks);

    struct Forward {
        Matrix y;  ///< [T, H]
        MoeState state;
    };
    /// x [T, H]. `training` turns noise and capacity on: else a token's result depends on no other token.
    [[nodiscard]] Forward forward(ConstRows x, const TokenScope& scope, bool training) const;

    /// d_y [T, H] → d_x [T, H]; adds to the gradients of its blocks. Consumes the state. `gradient` is what the losses
    /// on the router ask; `experts_done` is called once the experts' blocks have their gradients.
    [[nodiscard]] Matrix backward(ConstRows x, MoeState& state, ConstRows d_y, const RouterGradient& gradient,
                                  const std::function<void()>& experts_done = {}) const;

    [[nodiscard]] const MoeOptions& options() const { return options_; }
    [[nodiscard]] int layer() const { return layer_; }

private:
    [[nodiscard]] Routing route(ConstRows x, const TokenScope& scope, bool training, MoeState& state) const;
    [[nodiscard]] Array<int> place(const Array<int>& experts, double capacity_factor) const;
    void observe(const Routing& routing, MoeState& state) const;
    [[nodiscard]] Matrix run_experts(ConstRows x, const TokenScope& scope, MoeState& state) const;
    void plan_chunk(MoeChunk& chunk, MoeState& state, const TokenScope& scope, std::size_t row_bytes) const;
    void copy_rows(ConstRows from, Rows to) const;
    [[nodiscard]] DispatchGradient experts_backward(ConstRows x, MoeState& state, ConstRows d_y, Matrix& d_shared,
                                                    const std::function<void()>& experts_done) const;
    struct ChunkGradient;
    void add_weight_gradients(const MoeState& state, std::vector<ChunkGradient>& gradients) const;
    void run_shared(ConstRows x, MoeState& state) const;
    void add_shared(const MoeState& state, Rows y) const;
    [[nodiscard]] Matrix shared_backward(ConstRows x, MoeState& state, ConstRows d_y) const;
    [[nodiscard]] int gate_tensor() const;  // in the shared expert's block

    MoeOptions options_;
    int layer_;
    MoeRuntime runtime_;
    ParameterBlock* router_;
    ParameterBlock* shared_block_ = nullptr;
    std::optional<Experts> shared_;
    Experts experts_;
};

}  // namespace expar
