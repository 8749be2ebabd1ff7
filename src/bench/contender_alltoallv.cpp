#include <numeric>

#include "contender.hpp"

namespace expar {
namespace {

int total(const std::vector<int>& counts) {
    return std::accumulate(counts.begin(), counts.end(), 0);
}

RowCounts reversed(const RowCounts& counts) {
    return {counts.recv, counts.send};
}

BareAlltoallv bare(const CellContext& context, RowCounts counts) {
    return {context.world, std::move(counts), context.cell.hidden, context.dtype};
}

}  // namespace

AlltoallvContender::AlltoallvContender(const CellContext& context)
    : context_(context),
      out_(total(context.numbers.choices.send)),
      in_(total(context.numbers.choices.recv)),
      distinct_out_(bare(context, context.numbers.distinct)),
      distinct_home_(bare(context, reversed(context.numbers.distinct))),
      choices_out_(bare(context, context.numbers.choices)),
      choices_home_(bare(context, reversed(context.numbers.choices))),
      device_(context.options.make_device()) {}

std::size_t AlltoallvContender::slot_bytes() const {
    return context_.row_bytes() * std::size_t(out_ + in_);
}

void AlltoallvContender::prepare(int slots) {
    for (int slot = 0; slot < slots; ++slot) {
        sources_.emplace_back(*device_, context_.dtype, out_, context_.cell.hidden);
        targets_.emplace_back(*device_, context_.dtype, in_, context_.cell.hidden);
        sources_.back().zero(device_->stream());
        targets_.back().zero(device_->stream());
    }
}

RegionSeconds AlltoallvContender::iterate(int slot) {
    RegionSeconds seconds{};
    Matrix& at_source = sources_[std::size_t(slot)];
    Matrix& at_host = targets_[std::size_t(slot)];
    const auto timed = [&](Region region, const BareAlltoallv& all_to_all, Matrix& from, Matrix& to, int out, int in) {
        const ConstRows send = from.view().slice(0, out);
        const Rows recv = to.view().slice(0, in);
        seconds[std::size_t(region)] = seconds_together(context_.world, [&] { all_to_all.run(send, recv); });
    };
    const int distinct_out = total(context_.numbers.distinct.send), distinct_in = total(context_.numbers.distinct.recv);
    timed(Region::dispatch, distinct_out_, at_source, at_host, distinct_out, distinct_in);
    timed(Region::combine, distinct_home_, at_host, at_source, distinct_in, distinct_out);
    timed(Region::combine_backward, choices_out_, at_source, at_host, out_, in_);
    timed(Region::dispatch_backward, choices_home_, at_host, at_source, in_, out_);
    return seconds;
}

}  // namespace expar
