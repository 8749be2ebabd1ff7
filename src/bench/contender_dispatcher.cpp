#include <algorithm>
#include <cstring>
#include <utility>

#include "contender.hpp"
#include "expar/observe/stopwatch.hpp"
#include "link_bytes.hpp"

namespace expar {
namespace {

// What experts do here: nothing but read all their rows and write as many.
void serve(ConstRows rows, Rows answers) {
    if (rows.rows() > 0) std::memcpy(answers.data(), rows.data(), rows.bytes());
}

}  // namespace

// What an iteration reads and leaves. It stays until the slot's next turn, so that the memory of the pool is in turn as
// much as that of the caller; where there is one slot, memory is given back as soon as can be.
struct DispatcherContender::Slot {
    Matrix x, d_y;
    DispatchPlan plan;
    LentRows rows, outputs, d_rows;
    CombineGradient gradient;
    Matrix y;
    DispatchGradient home;

    void release() {
        rows = LentRows();
        outputs = LentRows();
        d_rows = LentRows();
        gradient = {};
        y = Matrix();
        home = {};
    }
};

RegionCounts RegionCounts::since(const RegionCounts& before) const {
    return {rows_delivered - before.rows_delivered, bytes_copied - before.bytes_copied,
            bytes_intra - before.bytes_intra,       bytes_inter - before.bytes_inter,
            link_sent - before.link_sent,           link_received - before.link_received};
}

DispatcherContender::DispatcherContender(const CellContext& context, const std::string& name, const std::string& order)
    : context_(context),
      name_(name),
      order_(order),
      device_(context.options.make_device()),
      dispatcher_(context.options.make_dispatcher(name, context.options.exchange, context.world, *device_)),
      routing_(to_routing(context.mine(), *device_)),
      oracle_(context.routed(), context.world.rank(), combine_order(order), {context.cell.hidden, context.dtype},
              topology_for(context.options.exchange, context.world)) {}

DispatcherContender::~DispatcherContender() = default;

std::size_t DispatcherContender::slot_bytes() const {
    return context_.row_bytes() * std::size_t(4 * (context_.numbers.tokens + context_.numbers.served));
}

void DispatcherContender::prepare(int slots) {
    for (int i = 0; i < slots; ++i) {
        Slot& slot = slots_.emplace_back();
        slot.x = Matrix(*device_, context_.dtype, context_.numbers.tokens, context_.cell.hidden);
        slot.d_y = Matrix(*device_, context_.dtype, context_.numbers.tokens, context_.cell.hidden);
        oracle_.fill_tokens(slot.x);
        oracle_.fill_output_gradients(slot.d_y);
    }
}

RegionCounts counts_of(const Dispatcher& dispatcher, const DispatchBenchOptions& options, int rank) {
    const DispatchCounters counters = dispatcher.counters();
    const auto [sent, received] = link_bytes(options.link.interface);
    RegionCounts counts{counters.rows_delivered, counters.bytes_copied, 0, 0, sent, received};
    const auto& node_of = options.topology.node_of;
    const Traffic& traffic = dispatcher.traffic();
    for (std::size_t peer = 0; peer < traffic.bytes_to.size(); ++peer) {
        const bool same_node = node_of[peer] == node_of[std::size_t(rank)];
        (same_node ? counts.bytes_intra : counts.bytes_inter) += traffic.bytes_to[peer];
    }
    return counts;
}

RegionCounts DispatcherContender::counted() const {
    if (!context_.options.link.interface.empty())
        context_.world.barrier({"benchmark"});  // what others have sent is counted
    return counts_of(*dispatcher_, context_.options, context_.world.rank());
}

template <class Work>
double DispatcherContender::timed(Region region, Work&& work) {
    const RegionCounts before = counted();
    const double seconds = seconds_together(context_.world, [&] {
        work();
        device_->synchronize();
    });
    counts_[std::size_t(region)] = counted().since(before);
    return seconds;
}

void DispatcherContender::dispatch(Slot& slot, RegionSeconds& seconds) {
    const PlanScope scope{.placement = &context_.placement,
                          .member = context_.world.rank(),
                          .order = combine_order(order_),
                          .first_token = context_.first_token,
                          .row_bytes = context_.row_bytes()};
    const double counts_before = dispatcher_->counters().counts_seconds;
    seconds[std::size_t(Region::dispatch)] = timed(Region::dispatch, [&] {
        {
            const Stopwatch watch(seconds[std::size_t(Region::plan)]);
            slot.plan = dispatcher_->plan(routing_, scope);
        }
        slot.rows = dispatcher_->start_dispatch(slot.plan, slot.x).finish();
    });
    seconds[std::size_t(Region::counts)] = dispatcher_->counters().counts_seconds - counts_before;
    if (!context_.options.cached_plan) return;
    slot.rows = LentRows();
    seconds[std::size_t(Region::dispatch_cached)] =
        timed(Region::dispatch_cached, [&] { slot.rows = dispatcher_->start_dispatch(slot.plan, slot.x).finish(); });
}

void DispatcherContender::combine(Slot& slot, RegionSeconds& seconds) {
    seconds[std::size_t(Region::combine)] = timed(Region::combine, [&] {
        slot.y = dispatcher_->start_combine(slot.plan, slot.outputs, routing_.weights).finish();
    });
    seconds[std::size_t(Region::combine_backward)] = timed(Region::combine_backward, [&] {
        slot.gradient = dispatcher_->start_combine_backward(slot.plan, slot.d_y, slot.outputs).finish();
    });
}

void DispatcherContender::dispatch_backward(Slot& slot, RegionSeconds& seconds) {
    seconds[std::size_t(Region::dispatch_backward)] = timed(Region::dispatch_backward, [&] {
        slot.home = dispatcher_->start_dispatch_backward(slot.plan, slot.d_rows, slot.gradient.d_weights).finish();
    });
}

RegionSeconds DispatcherContender::iterate(int slot_index) {
    Slot& slot = slots_[std::size_t(slot_index)];
    const bool alone = slots_.size() == 1;
    RegionSeconds seconds{};
    slot.release();
    dispatch(slot, seconds);
    slot.outputs = dispatcher_->lend_outputs(slot.plan, context_.cell.hidden, context_.dtype);
    serve(slot.rows, slot.outputs);
    if (alone) slot.rows = LentRows();
    combine(slot, seconds);
    if (alone) slot.outputs = LentRows();
    slot.d_rows = dispatcher_->lend_outputs(slot.plan, context_.cell.hidden, context_.dtype);
    serve(slot.gradient.d_outputs, slot.d_rows);
    if (alone) slot.gradient.d_outputs = LentRows();
    dispatch_backward(slot, seconds);
    return seconds;
}

void DispatcherContender::check() {
    Slot& slot = slots_.front();
    RegionSeconds not_used{};
    slot.release();
    const auto answer = [&](ConstRows rows, LentRows& answers, auto apply) {
        answers = dispatcher_->lend_outputs(slot.plan, context_.cell.hidden, context_.dtype);
        if (rows.rows() == oracle_.expert_rows()) (oracle_.*apply)(rows, answers);
    };
    dispatch(slot, not_used);
    count_wrong(Region::dispatch, oracle_.wrong_expert_rows(slot.rows));
    answer(slot.rows, slot.outputs, &DispatchOracle::apply_experts);
    combine(slot, not_used);
    count_wrong(Region::combine, oracle_.wrong_combined(slot.y));
    count_wrong(Region::combine_backward, oracle_.wrong_d_outputs(slot.gradient.d_outputs));
    answer(slot.gradient.d_outputs, slot.d_rows, &DispatchOracle::apply_experts_backward);
    dispatch_backward(slot, not_used);
    count_wrong(Region::dispatch_backward,
                oracle_.wrong_d_x(slot.home.d_x) + oracle_.wrong_d_weights(slot.home.d_weights));
    slot.release();
}

void DispatcherContender::count_wrong(Region region, int rows) {
    std::int64_t all = rows;
    context_.world.sum(std::span(&all, 1), {"benchmark"});
    std::int64_t& most = wrong_[std::size_t(region)];
    most = std::max(most, all);
}

}  // namespace expar
