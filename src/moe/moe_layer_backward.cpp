#include <array>
#include <utility>

#include "expar/compute/matrix_product.hpp"
#include "expar/compute/pausing.hpp"
#include "expar/compute/rows.hpp"
#include "expar/moe/chunks.hpp"
#include "expar/moe/moe_layer.hpp"
#include "under_way.hpp"

namespace expar {

// What a chunk has of its gradients until those of the weights are made.
struct MoeLayer::ChunkGradient {
    CombineGradient combine;
    LentRows d_rows;
    Matrix activated;
};

Matrix MoeLayer::backward(ConstRows x, MoeState& state, ConstRows d_y, const RouterGradient& gradient,
                          const std::function<void()>& experts_done) const {
    Device& device = *runtime_.device;
    Stream& stream = device.stream();
    Matrix d_shared;
    DispatchGradient dispatch = experts_backward(x, state, d_y, d_shared, experts_done);

    if (runtime_.meanwhile) runtime_.meanwhile();
    const Span span(runtime_.clock, Phase::router_backward, layer_);
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

// As forward, the other way. With several chunks the gradients of the weights come last, while the last rows travel.
DispatchGradient MoeLayer::experts_backward(ConstRows x, MoeState& state, ConstRows d_y, Matrix& d_shared,
                                            const std::function<void()>& experts_done) const {
    Dispatcher& dispatcher = *runtime_.dispatcher;
    UnderWay<CombineGradient> returning;
    UnderWay<DispatchGradient> going_home;
    const auto computing = [&](const auto& compute) {
        const InPauses moving(*runtime_.device, [&] {
            returning.progress();
            going_home.progress();
        });
        compute();
    };
    const auto start_combine_backward = [&](const MoeChunk& chunk) {
        const ConstRows rows = d_y.slice(chunk.first_token, chunk.plan.tokens);
        returning.start(dispatcher.start_combine_backward(chunk.plan, rows, chunk.outputs));
    };
    const std::size_t chunks = state.chunks.size();
    Span span(runtime_.clock, Phase::combine_backward, layer_);
    start_combine_backward(state.chunks.front());
    if (shared_) computing([&] { d_shared = shared_backward(x, state, d_y); });

    std::vector<ChunkGradient> gradients(chunks);
    for (std::size_t c = 0; c < chunks; ++c) {
        MoeChunk& chunk = state.chunks[c];
        ChunkGradient& gradient = gradients[c];
        gradient.combine = returning.finish_first();
        if (c + 1 < chunks) start_combine_backward(state.chunks[c + 1]);
        if (runtime_.meanwhile) runtime_.meanwhile();
        span.next(Phase::experts_backward);
        gradient.d_rows = dispatcher.lend_outputs(chunk.plan, x.cols(), x.dtype());
        computing([&] {
            gradient.activated = experts_.input_gradient(chunk.plan.expert_offsets, chunk.experts,
                                                         gradient.combine.d_outputs, gradient.d_rows);
        });
        if (chunks == 1) {
            add_weight_gradients(state, gradients);
            if (experts_done) experts_done();
        }
        span.next(Phase::dispatch_backward);
        going_home.start(dispatcher.start_dispatch_backward(chunk.plan, gradient.d_rows, gradient.combine.d_weights));
        if (c + 1 < chunks) span.next(Phase::combine_backward);
    }
    if (chunks == 1) return going_home.finish_first();
    span.next(Phase::experts_backward);
    computing([&] { add_weight_gradients(state, gradients); });
    if (experts_done) experts_done();
    span.next(Phase::dispatch_backward);
    DispatchGradient all{Matrix(*runtime_.device, x.dtype(), x.rows(), x.cols()),
                         Matrix(*runtime_.device, wide(x.dtype()), x.rows(), options_.top_k)};
    for (const MoeChunk& chunk : state.chunks) {
        const DispatchGradient part = going_home.finish_first();
        copy_rows(part.d_x, all.d_x.view().slice(chunk.first_token, chunk.plan.tokens));
        copy_rows(part.d_weights, all.d_weights.view().slice(chunk.first_token, chunk.plan.tokens));
    }
    return all;
}

// Sums over rows depend on their order, which is that of one chunk: here all rows are brought into it.
void MoeLayer::add_weight_gradients(const MoeState& state, std::vector<ChunkGradient>& gradients) const {
    if (gradients.size() == 1) {
        const MoeChunk& chunk = state.chunks.front();
        const Matrix activated = std::move(gradients.front().activated);
        experts_.last_weight_gradient(gradients.front().combine.d_outputs, activated, chunk.plan.expert_offsets);
        experts_.first_weight_gradient(chunk.experts.inner, chunk.expert_rows, chunk.plan.expert_offsets);
        return;
    }
    Device& device = *runtime_.device;
    std::vector<const DispatchPlan*> plans;
    for (const MoeChunk& chunk : state.chunks) plans.push_back(&chunk.plan);
    const JoinedRows joined = join_rows(plans, device);
    if (joined.offsets.size() == 1) return;  // no expert is here
    const auto join = [&](const auto& rows_of) {
        const ConstRows shape = rows_of(0);
        Matrix all(device, shape.dtype(), joined.offsets.back(), shape.cols());
        const std::array bases{all.view().data()};
        for (std::size_t c = 0; c < gradients.size(); ++c) {
            const std::vector<int> one_base(joined.places[c].size());
            device.rows().store(rows_of(c), {bases, one_base, joined.places[c].view(), shape.cols(), shape.dtype()},
                                Stores::ordinary, device.stream());
        }
        return all;
    };
    {
        const Matrix d_y = join([&](std::size_t c) { return ConstRows(gradients[c].combine.d_outputs); });
        const Matrix activated = join([&](std::size_t c) { return ConstRows(gradients[c].activated); });
        experts_.last_weight_gradient(d_y, activated, joined.offsets);
    }
    const Matrix d_inner = join([&](std::size_t c) { return ConstRows(state.chunks[c].experts.inner); });
    const Matrix rows = join([&](std::size_t c) { return ConstRows(state.chunks[c].expert_rows); });
    experts_.first_weight_gradient(d_inner, rows, joined.offsets);
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
