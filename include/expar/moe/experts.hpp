#pragma once

#include <span>
#include <string>
#include <vector>

#include "expar/compute/activation.hpp"
#include "expar/moe/parameter_block.hpp"

namespace expar {

/// What the backward of a forward needs.
struct ExpertsState {
    Matrix inner;  ///< [A, I or 2 I], before the activation
};

/// Feed-forward networks side by side, each on its own group of rows: the experts of a rank, or one dense layer.
///
/// y = down(act(up x)), or down(silu(gate x) · (up x)). Blocks hold gate, up, down (up, down without a gate) and must
/// outlive it. Every group may be empty. Local.
class Experts {
public:
    Experts(Device& device, Activation activation, std::vector<ParameterBlock*> blocks);

    /// x [A, H], grouped by offsets [experts + 1] → y [A, H]
    [[nodiscard]] ExpertsState forward(ConstRows x, std::span<const int> offsets, Rows y) const;
    /// d_y [A, H] → d_x [A, H]; adds to the blocks' gradients. x as given to forward. Overwrites the state.
    void backward(ConstRows x, std::span<const int> offsets, ExpertsState& state, ConstRows d_y, Rows d_x) const;

private:
    [[nodiscard]] std::vector<Weight*> weights(int first, int count, DType dtype) const;
    struct Gradients {
        std::vector<Rows> rows;
        Write write;
    };
    /// Of the blocks, and how a backward pass writes them.
    [[nodiscard]] Gradients gradients(int first, int count) const;

    Device& device_;
    Activation activation_;
    std::vector<ParameterBlock*> blocks_;
    int inner_tensors_;  // gate and up lie together and are one product
};

/// The tensors of one such network, named `prefix`.gate.weight and so on.
[[nodiscard]] std::vector<TensorSpec> feed_forward_tensors(const std::string& prefix, Activation activation, int hidden,
                                                           int intermediate, double std);

}  // namespace expar
