#include <utility>

#include "expar/compute/pausing.hpp"
#include "expar/moe/chunks.hpp"
#include "expar/moe/moe_layer.hpp"
#include "under_way.hpp"

namespace expar {

//            chunk 0     chunk 1     chunk 2
//  dispatch  ─────       ─────       ─────
//  compute        █████       █████       █████
//  combine             ─────       ─────       ─────
//
// Chunk 0 travels while the others are planned and the shared expert computes.
Matrix MoeLayer::run_experts(ConstRows x, const TokenScope& scope, MoeState& state) const {
    Dispatcher& dispatcher = *runtime_.dispatcher;
    UnderWay<LentRows> dispatching;
    UnderWay<Matrix> combining;
    const auto move_on = [&] {
        dispatching.progress();
        combining.progress();
    };
    const auto start_dispatch = [&](const MoeChunk& chunk) {
        dispatching.start(dispatcher.start_dispatch(chunk.plan, x.slice(chunk.first_token, chunk.plan.tokens)));
    };
    state.chunks = std::vector<MoeChunk>(std::size_t(runtime_.chunks));
    Span span(runtime_.clock, Phase::plan, layer_);
    for (MoeChunk& chunk : state.chunks) {
        plan_chunk(chunk, state, scope, x.row_bytes());
        if (&chunk != &state.chunks.front()) continue;
        span.next(Phase::dispatch);
        start_dispatch(chunk);
        span.next(Phase::plan);
    }
    span.next(Phase::dispatch);
    if (shared_) {
        const InPauses moving(*runtime_.device, move_on);
        run_shared(x, state);
    }
    for (std::size_t c = 0; c < state.chunks.size(); ++c) {
        MoeChunk& chunk = state.chunks[c];
        chunk.expert_rows = dispatching.finish_first();
        if (c + 1 < state.chunks.size()) start_dispatch(state.chunks[c + 1]);
        span.next(Phase::experts);
        chunk.outputs = dispatcher.lend_outputs(chunk.plan, x.cols(), x.dtype());
        {
            const InPauses moving(*runtime_.device, move_on);
            chunk.experts = experts_.forward(chunk.expert_rows, chunk.plan.expert_offsets, chunk.outputs);
        }
        span.next(Phase::combine);
        const ConstRows weights = state.routing.weights.view().slice(chunk.first_token, chunk.plan.tokens);
        combining.start(dispatcher.start_combine(chunk.plan, chunk.outputs, weights));
        if (c + 1 < state.chunks.size()) span.next(Phase::dispatch);
    }
    if (state.chunks.size() == 1) return combining.finish_first();
    Matrix y(*runtime_.device, x.dtype(), x.rows(), x.cols());
    for (const MoeChunk& chunk : state.chunks)
        copy_rows(combining.finish_first(), y.view().slice(chunk.first_token, chunk.plan.tokens));
    return y;
}

void MoeLayer::plan_chunk(MoeChunk& chunk, MoeState& state, const TokenScope& scope, std::size_t row_bytes) const {
    const auto end_of = [&](int index) { return first_token_of(index, runtime_.chunks, state.routing.tokens); };
    const int index = int(&chunk - state.chunks.data());
    chunk.first_token = end_of(index);
    const PlanScope plan_scope{
        runtime_.placement, layer_, runtime_.member, options_.order, scope.first_token + chunk.first_token, row_bytes};
    if (runtime_.chunks == 1)
        chunk.plan = runtime_.dispatcher->plan(state.routing, plan_scope);
    else
        chunk.plan = runtime_.dispatcher->plan(
            part_of(state.routing, chunk.first_token, end_of(index + 1) - chunk.first_token), plan_scope);
    state.rows_served += chunk.plan.expert_offsets.back();
}

void MoeLayer::copy_rows(ConstRows from, Rows to) const {
    if (from.bytes() > 0) runtime_.device->copy(from.data(), to.data(), from.bytes(), runtime_.device->stream());
}

}  // namespace expar
