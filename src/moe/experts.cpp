#include "expar/moe/experts.hpp"

#include <algorithm>
#include <utility>

#include "expar/compute/matrix_product.hpp"

namespace expar {

Experts::Experts(Device& device, Activation activation, std::vector<ParameterBlock*> blocks)
    : device_(device), activation_(activation), blocks_(std::move(blocks)), inner_tensors_(inner_columns(activation)) {}

std::vector<Weight*> Experts::weights(int first, int count, DType dtype) const {
    std::vector<Weight*> result;
    for (ParameterBlock* block : blocks_) result.push_back(&block->weight(first, count, dtype));
    return result;
}

Experts::Gradients Experts::gradients(int first, int count) const {
    const bool clear = std::all_of(blocks_.begin(), blocks_.end(),
                                   [&](ParameterBlock* block) { return block->gradient_is_clear(first, count); });
    Gradients result{{}, clear ? Write::assign : Write::add};
    for (ParameterBlock* block : blocks_)
        result.rows.push_back(clear ? block->overwrite_gradient(first, count) : block->gradient(first, count));
    return result;
}

ExpertsState Experts::forward(ConstRows x, std::span<const int> offsets, Rows y) const {
    if (blocks_.empty()) return {};
    Stream& stream = device_.stream();
    const auto up = weights(0, inner_tensors_, x.dtype());
    const auto down = weights(inner_tensors_, 1, x.dtype());
    ExpertsState state{Matrix(device_, x.dtype(), x.rows(), up.front()->values().rows())};
    Matrix activated(device_, x.dtype(), x.rows(), down.front()->values().cols());
    device_.product().forward_activated({x, offsets, up}, activation_, state.inner, activated, stream);
    device_.product().forward({activated, offsets, down}, y, Write::assign, stream);
    return state;
}

void Experts::backward(ConstRows x, std::span<const int> offsets, ExpertsState& state, ConstRows d_y, Rows d_x) const {
    const Matrix activated = input_gradient(offsets, state, d_y, d_x);
    last_weight_gradient(d_y, activated, offsets);
    first_weight_gradient(state.inner, x, offsets);
}

Matrix Experts::input_gradient(std::span<const int> offsets, ExpertsState& state, ConstRows d_y, Rows d_x) const {
    if (blocks_.empty()) return {};
    Stream& stream = device_.stream();
    const auto up = weights(0, inner_tensors_, d_y.dtype());
    const auto down = weights(inner_tensors_, 1, d_y.dtype());
    Matrix activated(device_, d_y.dtype(), d_y.rows(), down.front()->values().cols());
    device_.product().input_gradient_activated({d_y, offsets, down}, activation_, state.inner, activated, stream);
    device_.product().input_gradient({state.inner, offsets, up}, d_x, Write::assign, stream);
    return activated;
}

void Experts::last_weight_gradient(ConstRows d_y, ConstRows activated, std::span<const int> offsets) const {
    if (blocks_.empty()) return;
    const Gradients down = gradients(inner_tensors_, 1);
    device_.product().weight_gradient(d_y, activated, offsets, down.rows, down.write, device_.stream());
}

void Experts::first_weight_gradient(ConstRows d_inner, ConstRows x, std::span<const int> offsets) const {
    if (blocks_.empty()) return;
    const Gradients up = gradients(0, inner_tensors_);
    device_.product().weight_gradient(d_inner, x, offsets, up.rows, up.write, device_.stream());
}

std::vector<TensorSpec> feed_forward_tensors(const std::string& prefix, Activation activation, int hidden,
                                             int intermediate, double std) {
    std::vector<TensorSpec> tensors;
    if (activation == Activation::swiglu)
        tensors.push_back({prefix + ".gate.weight", intermediate, hidden, TensorSpec::Initial::normal, std});
    tensors.push_back({prefix + ".up.weight", intermediate, hidden, TensorSpec::Initial::normal, std});
    tensors.push_back({prefix + ".down.weight", hidden, intermediate, TensorSpec::Initial::normal, std});
    return tensors;
}

}  // namespace expar
