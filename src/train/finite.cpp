#include "finite.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <ranges>

#include "expar/compute/update.hpp"

namespace expar {
namespace {

constexpr int nowhere = std::numeric_limits<int>::max();

// Squares of float32 cannot overflow float64, so that the sum is finite exactly when the values are.
bool finite(Device& device, ConstRows values) {
    return std::isfinite(device.update().sum_of_squares(values, device.stream()));
}

// 0: the embedding, l + 1: layer l, layers + 1: what comes after them.
int first_place(Device& device, const TransformerState& state) {
    const int layers = int(state.layers.size());
    for (int layer = 0; layer < layers; ++layer) {
        const LayerState& found = state.layers[layer];
        if (!finite(device, found.x)) return layer;
        // Not kept when the layer is to be computed again; the next input tells as much.
        if (found.after_attention.rows() > 0 && !finite(device, found.after_attention)) return layer + 1;
    }
    if (!finite(device, state.x)) return layers;
    return finite(device, state.logits) ? nowhere : layers + 1;
}

// 0: the head and the last norm, then the layers from the last on, then the embedding, which is the first block.
int backward_place(std::span<const std::unique_ptr<ParameterBlock>> blocks, const ParameterBlock& block) {
    int layers = 0;
    for (const auto& each : blocks) layers = std::max(layers, each->spec().layer + 1);
    if (&block == blocks.front().get()) return layers + 1;
    return block.spec().layer < 0 ? 0 : layers - block.spec().layer;
}

struct Found {
    int place = nowhere;
    int rank = 0;
};

// The first place of any rank, on the lowest rank that has it.
Found first_of_all(int place, const Communicator& world) {
    const std::vector<int> places = world.all_gather(std::array{place}, {"search for a value that is not finite"});
    const auto first = std::ranges::min_element(places);
    return {*first, int(first - places.begin())};
}

}  // namespace

std::string locate_in_forward(Device& device, const TransformerState& state, const Communicator& world) {
    const Found found = first_of_all(first_place(device, state), world);
    if (found.place == nowhere) return "the output of every layer is finite on every rank";
    const int layers = int(state.layers.size());
    const std::string what = found.place == 0       ? "the embedding"
                             : found.place > layers ? "the head"
                                                    : concat("layer ", found.place - 1);
    return concat(what, " on rank ", found.rank, " is the first with a value that is not");
}

std::string locate_in_gradients(Device& device, std::span<const std::unique_ptr<ParameterBlock>> blocks,
                                const Communicator& world) {
    // In the order of backward, which carries on what went wrong: else the embedding would always be the first.
    const auto bad = std::ranges::find_if(std::views::reverse(blocks),
                                          [&](const auto& block) { return !finite(device, block->flat_gradient()); });
    const bool none = bad == std::views::reverse(blocks).end();
    const Found found = first_of_all(none ? nowhere : backward_place(blocks, **bad), world);
    // Ranks hold different experts: the rank names the block.
    const bool here = !none && found.rank == world.rank();
    const std::string name = world.broadcast(here ? (*bad)->spec().name() : "", found.rank);
    return concat(name, " on rank ", found.rank, " is the first with a value that is not");
}

}  // namespace expar
