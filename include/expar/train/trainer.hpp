#pragma once

#include <memory>
#include <span>
#include <vector>

#include "expar/comm/layout.hpp"
#include "expar/model/transformer.hpp"
#include "expar/train/clip.hpp"
#include "expar/train/gradient_reducer.hpp"
#include "expar/train/optimizer.hpp"

namespace expar {

/// What a step found, the same on every rank.
struct StepReport {
    int step = 0;
    std::int64_t tokens = 0;
    double loss = 0;          ///< mean cross entropy, nats
    double balance_loss = 0;  ///< mean over layers of the T_m-weighted mean over micro-batches of E Σ f P
    double z_loss = 0;        ///< mean over layers of mean lse²
    double objective = 0;
    GradientNorm norm;  ///< before clipping
    double clip_factor = 1;
    double learning_rate = 0;
    double load_max_over_mean = 1;  ///< of the worst layer and micro-batch
    std::int64_t dropped = 0;
    std::int64_t choices = 0;               ///< k T over layers with experts
    std::vector<RouterStatistics> routers;  ///< of each layer with experts, of all ranks and micro-batches
    double router_entropy = 0;              ///< mean over tokens and those layers, nats
    double rank_load_max_over_mean = 1;     ///< rows that a rank's experts were given, of the worst layer
    double seconds = 0;                     ///< of the slowest rank
    double communication_share = 0;         ///< of this rank's step in dispatch and combine, largest over ranks
    /// Since the step before: what lies between the steps is in it. Of the slowest rank in each phase.
    PhaseSeconds phase_seconds{};
};

/// What verify looks at between the parts of a step. All pointers are borrowed and valid during the call.
struct StepObserver {
    virtual ~StepObserver() = default;
    virtual void after_forward(int micro_batch, const MicroBatch& batch, const TransformerState& state) = 0;
    virtual void after_backward(int micro_batch, const Matrix& d_embedded) = 0;
    /// Gradients are summed over ranks and not yet clipped.
    virtual void before_update(const StepReport& report) = 0;
};

/// A model, its optimizer, and the ranks that train it: one step of the design's objective at a time.
///
/// Construction and step() are collective over `world`, which must outlive it, as must the device.
class Trainer {
public:
    Trainer(const ModelOptions& model, const TrainOptions& options, Device& device, const Communicator& world);
    /// The same with a placement of the caller's.
    Trainer(const ModelOptions& model, const TrainOptions& options, Placement placement, Device& device,
            const Communicator& world);
    ~Trainer();

    /// `shares` are this rank's part of each micro-batch of the step. Throws UserError on every rank when the loss is
    /// not finite, naming step, layer and rank, before weights are changed.
    StepReport step(std::span<const MicroBatch> shares, StepObserver* observer = nullptr);

    /// Σ loss and Σ loss-bearing tokens of one micro-batch over all ranks, without noise, capacity or change.
    struct Evaluation {
        double loss_sum = 0;
        std::int64_t tokens = 0;
        Matrix logits;                          ///< [T, V] of this rank's share
        std::vector<RouterStatistics> routers;  ///< of each layer with experts, of all ranks
    };
    [[nodiscard]] Evaluation evaluate(const MicroBatch& share);

    [[nodiscard]] int steps_done() const;
    void set_steps_done(int steps);  ///< for a run that goes on
    [[nodiscard]] Parameters& parameters();
    [[nodiscard]] Optimizer& optimizer();
    [[nodiscard]] const Transformer& transformer() const;
    [[nodiscard]] const Placement& placement() const;
    [[nodiscard]] const Layout& layout() const;
    /// As TrainOptions::overlap_gradients, from the next step on; on all ranks alike.
    void overlap_gradients(bool on);
    /// See Dispatcher::note.
    [[nodiscard]] std::string note() const;
    /// Of this rank, since the last call.
    [[nodiscard]] ReductionSeconds take_reduction_seconds();
    /// Of this rank. Steps take its seconds; whoever works between them may open phases of it.
    [[nodiscard]] PhaseClock& clock();

private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

}  // namespace expar
