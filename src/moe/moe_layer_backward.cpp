#include <array>
#include <utility>

#include "expar/compute/matrix_product.hpp"
#include "expar/compute/rows.hpp"
#include "expar/moe/moe_layer.hpp"

namespace expar {

Matrix MoeLayer::backward(ConstRows x, MoeState& state, ConstRows d_y, const RouterGradient& gradient,
                          const std::function<void()>& experts_done) const {
    Device& device = *runtime_.device;
    Stream& stream = device.stream();
    const DispatchPlan& plan = state.plan;

    Span span(runtime_.clock, Phase::combine_backward, layer_);
    auto returning = runtime_.dispatcher->start_combine_backward(plan, d_y, state.outputs);
    Matrix d_shared;
    if (shared_) d_shared = shared_backward(x, state, d_y);
    CombineGradient combine = returning.finish();
    if (runtime_.meanwhile) runtime_.meanwhile();

    span.next(Phase::experts_backward);
    LentRows d_rows = runtime_.dispatcher->lend_outputs(plan, x.cols(), x.dtype());
    experts_.backward(state.expert_rows, plan.expert_offsets, state.experts, combine.d_outputs, d_rows);
    if (experts_done) experts_done();
    span.next(Phase::dispatch_backward);
    DispatchGradient dispatch = runtime_.dispatcher->start_dispatch_backward(plan, d_rows, combine.d_weights).finish();

    if (runtime_.meanwhile) runtime_.meanwhile();
    span.next(Phase::router_backward);
    Matrix d_logits(device, wide(x.dtype()), x.rows(), options_.experts);
    device.routing().weigh_backward(
        options_.convention,
        {state.routing.experts.view(), state.weighing.probabilities, state.weighing.log_sum_exp, state.routing.weights},
        dispatch.d_weights, gradient, d_logits, stream);
    device.product().input_gradient(d_logits, router_->weight(0, 1, d_logits.dtype()), dispatch.d_x, stream,
                                    Write::add);
    device.product().weight_gradient(d_logits, x, router_->gradient(0), stream);
    if (shared_) device.rows().add(d_shared, dispatch.d_x, stream);
    return std::move(dispatch.d_x);
}

Matrix MoeLayer::shared_backward(ConstRows x, MoeState& state, ConstRows d_y) const {
    const Span span(runtime_.clock, Phase::shared_backward, layer_);
    Device& device = *runtime_.device;
    Stream& stream = device.stream();
    Matrix d_x(device, x.dtype(), x.rows(), x.cols());
    const std::array offsets{0, x.rows()};
    if (options_.shared == SharedExpert::sum) {
        shared_->backward(x, offsets, state.shared, d_y, d_x);
        return d_x;
    }
    Matrix d_shared(device, x.dtype(), x.rows(), x.cols());
    Matrix d_logit(device, wide(x.dtype()), x.rows(), 1);
    device.rows().sigmoid_gate_backward(state.shared_out, state.shared_logit, d_y, d_shared, d_logit, stream);
    shared_->backward(x, offsets, state.shared, d_shared, d_x);
    device.product().input_gradient(d_logit, shared_block_->weight(gate_tensor(), 1, d_logit.dtype()), d_x, stream,
                                    Write::add);
    device.product().weight_gradient(d_logit, x, shared_block_->gradient(gate_tensor()), stream);
    return d_x;
}

}  // namespace expar
