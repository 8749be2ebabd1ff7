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
    if (blocks_.empty()) return;
    Stream& stream = device_.stream();
    const MatrixProduct& product = device_.product();
    const auto up = weights(0, inner_tensors_, x.dtype());
    const auto down = weights(inner_tensors_, 1, x.dtype());
    Matrix activated(device_, x.dtype(), x.rows(), down.front()->values().cols());
    product.input_gradient_activated({d_y, offsets, down}, activation_, state.inner, activated, stream);
    const Gradients d_down = gradients(inner_tensors_, 1), d_up = gradients(0, inner_tensors_);
    product.weight_gradient(d_y, activated, offsets, d_down.rows, d_down.write, stream);
    const Matrix& d_inner = state.inner;
    product.input_gradient({d_inner, offsets, up}, d_x, Write::assign, stream);
    product.weight_gradient(d_inner, x, offsets, d_up.rows, d_up.write, stream);
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
