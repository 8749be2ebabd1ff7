#include "expar/moe/experts.hpp"

#include <utility>

#include "expar/compute/matrix_product.hpp"

namespace expar {

Experts::Experts(Device& device, Activation activation, std::vector<ParameterBlock*> blocks)
    : device_(device), activation_(activation), blocks_(std::move(blocks)), inner_tensors_(inner_columns(activation)) {}

std::vector<ConstRows> Experts::weights(int first, int count) const {
    std::vector<ConstRows> result;
    for (ParameterBlock* block : blocks_) result.push_back(block->value(first, count));
    return result;
}

std::vector<Rows> Experts::gradients(int first, int count) const {
    std::vector<Rows> result;
    for (ParameterBlock* block : blocks_) result.push_back(block->gradient(first, count));
    return result;
}

ExpertsState Experts::forward(ConstRows x, std::span<const int> offsets, Rows y) const {
    if (blocks_.empty()) return {};
    Stream& stream = device_.stream();
    const int inner = blocks_.front()->value(0, inner_tensors_).rows();
    ExpertsState state{Matrix(device_, x.dtype(), x.rows(), inner),
                       Matrix(device_, x.dtype(), x.rows(), inner / inner_tensors_)};
    device_.product().forward(x, offsets, weights(0, inner_tensors_), state.inner, Write::assign, stream);
    device_.activation().forward(activation_, state.inner, state.activated, stream);
    device_.product().forward(state.activated, offsets, weights(inner_tensors_, 1), y, Write::assign, stream);
    return state;
}

void Experts::backward(ConstRows x, std::span<const int> offsets, const ExpertsState& state, ConstRows d_y,
                       Rows d_x) const {
    if (blocks_.empty()) return;
    Stream& stream = device_.stream();
    const MatrixProduct& product = device_.product();
    Matrix d_activated(device_, x.dtype(), state.activated.rows(), state.activated.cols());
    Matrix d_inner(device_, x.dtype(), state.inner.rows(), state.inner.cols());
    product.input_gradient(d_y, offsets, weights(inner_tensors_, 1), d_activated, Write::assign, stream);
    product.weight_gradient(d_y, state.activated, offsets, gradients(inner_tensors_, 1), stream);
    device_.activation().backward(activation_, state.inner, d_activated, d_inner, stream);
    product.input_gradient(d_inner, offsets, weights(0, inner_tensors_), d_x, Write::assign, stream);
    product.weight_gradient(d_inner, x, offsets, gradients(0, inner_tensors_), stream);
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
