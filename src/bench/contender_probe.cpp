#include "contender.hpp"

namespace expar {

std::size_t ProbeContender::slot_bytes() const {
    return 4 * context_.row_bytes() * std::size_t(context_.numbers.tokens + context_.numbers.served);
}

void ProbeContender::prepare(int slots) {
    probe_ = std::make_unique<AccessProbe>(context_.world, context_.options.topology,
                                           row_places(context_.routed(), context_.world.rank()), context_.row_bytes(),
                                           slots);
}

RegionSeconds ProbeContender::iterate(int slot) {
    RegionSeconds seconds{};
    const auto timed = [&](Region region, auto&& work) {
        seconds[std::size_t(region)] = seconds_together(context_.world, work);
    };
    const auto timed_move = [&](Region region, RowMovement movement) {
        timed(region, [&] { probe_->move(movement, slot, stores_); });
    };
    // In the order in which a dispatcher does it, so that the caches hold the same.
    timed_move(Region::dispatch, RowMovement::dispatch);
    context_.world.barrier({"benchmark"});
    probe_->serve(slot, AccessProbe::Pass::forward);
    timed_move(Region::combine, RowMovement::combine);
    timed_move(Region::combine_backward, RowMovement::combine_backward);
    context_.world.barrier({"benchmark"});
    probe_->serve(slot, AccessProbe::Pass::backward);
    timed_move(Region::dispatch_backward, RowMovement::dispatch_backward);
    timed(Region::copy, [&] { probe_->copy(slot, stores_); });
    return seconds;
}

}  // namespace expar
