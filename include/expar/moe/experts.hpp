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

    /// What backward does, in parts, each row on its own: its gradient. In the state, before the activation, too.
    /// Returns [A, I], what the last products read in forward.
    [[nodiscard]] Matrix input_gradient(std::span<const int> offsets, ExpertsState& state, ConstRows d_y,
                                        Rows d_x) const;
    /// And the gradients of the blocks, which are sums over rows in their order: of the last products, from d_y [A, H]
    /// and what they read, and of the first ones, from the state's gradient and x.
    void last_weight_gradient(ConstRows d_y, ConstRows activated, std::span<const int> offsets) const;
    void first_weight_gradient(ConstRows d_inner, ConstRows x, std::span<const int> offsets) const;

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
