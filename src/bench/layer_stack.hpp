#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "contender.hpp"
#include "expar/bench/layer_bench.hpp"
#include "expar/moe/moe_layer.hpp"

namespace expar {

/// The phases of a direction of a layer, as they are reported.
enum class LayerPhase { plan, counts, dispatch, compute, combine, total };
constexpr int layer_phase_count = int(LayerPhase::total) + 1;
/// Of one direction, then of the other: forward, backward.
using LayerSeconds = std::array<double, 2 * layer_phase_count>;

/// What all stacks of a cell have in common.
struct LayerSetting {
    const Communicator& world;
    const LayerBenchOptions& options;
    const std::vector<CellContext>& contexts;  ///< [layers]
    Device& device;

    [[nodiscard]] const CellContext& first() const { return contexts.front(); }
    [[nodiscard]] MoeOptions moe(const std::string& order) const;
};

/// Parameters of MoE layers, as one member of a group hosts them, with routers that choose what the tokens say.
class LayerBlocks {
public:
    LayerBlocks(const LayerSetting& setting, const Placement& placement, int member);
    [[nodiscard]] std::vector<ParameterBlock*> of(int layer) const;
    void clear_gradients();

private:
    std::vector<std::vector<std::unique_ptr<ParameterBlock>>> blocks_;
};

/// What goes into each layer, and what must come out of it on this rank.
struct LayerRows {
    std::vector<Matrix> x, d_y;  ///< [layers] of [T, H]
    std::vector<Matrix> y, d_x;

    /// Computes what must come out on this rank alone. Collective.
    explicit LayerRows(const LayerSetting& setting);
};

/// Layers on a dispatcher with one combine order and so many chunks.
class LayerStack {
public:
    struct Kind {
        std::string dispatcher, order;
        int chunks;
    };
    LayerStack(const LayerSetting& setting, const LayerRows& rows, LayerBlocks& blocks, Kind kind);

    /// Of the slowest rank, over all layers. Collective.
    [[nodiscard]] LayerSeconds iterate();
    /// An iteration whose rows are compared with what they must be. Collective.
    void check();

    [[nodiscard]] const Kind& kind() const { return kind_; }
    /// Of all ranks, the most that a check has found: forward, backward.
    [[nodiscard]] const std::array<std::int64_t, 2>& wrong() const { return wrong_; }
    /// Of the last iteration on this rank: forward, backward.
    [[nodiscard]] const std::array<RegionCounts, 2>& counts() const { return counts_; }

private:
    [[nodiscard]] RegionCounts counted() const;
    [[nodiscard]] LayerSeconds run();  // its rows stay
    void run_forward();
    void run_backward();
    void release();

    const LayerSetting& setting_;
    const LayerRows& rows_;
    LayerBlocks& blocks_;
    Kind kind_;
    Placement placement_;
    PhaseClock clock_;
    std::unique_ptr<Dispatcher> dispatcher_;
    std::vector<MoeLayer> layers_;
    std::vector<MoeLayer::Forward> forward_;
    std::vector<Matrix> d_x_;
    std::array<RegionCounts, 2> counts_{};
    std::array<std::int64_t, 2> wrong_{};
};

}  // namespace expar
