#include "expar/bench/trace_workload.hpp"

#include <limits>
#include <vector>

#include "expar/base/error.hpp"
#include "mixture.hpp"

namespace expar {
namespace {

class TraceWorkload final : public Workload {
public:
    TraceWorkload(const RoutingTrace& trace, const TraceReplay& replay)
        : name_(concat("trace:", replay.layer)), seed_(replay.seed), all_tokens_(trace.tokens()) {
        const int place = trace.place_of(replay.layer);
        for (std::int64_t t = 0; t < all_tokens_; ++t) {
            const auto choices = trace.choices_of(t, place);
            experts_.insert(experts_.end(), choices.begin(), choices.end());
        }
        step_tokens_ = replay.tokens > 0 ? std::int64_t(replay.tokens) * replay.ranks : all_tokens_;
        if (replay.ranks < 1 || replay.tokens < 0 || step_tokens_ > std::numeric_limits<int>::max())
            throw UserError(concat("replay of a trace: ", replay.ranks, " ranks of ", replay.tokens,
                                   " tokens, expected at least 1 rank, and less than 2^31 tokens in all"));
        shape_ = {replay.ranks, int(step_tokens_ / replay.ranks), trace.experts, trace.top_k};
    }
    const std::string& name() const override { return name_; }
    const WorkloadShape& shape() const override { return shape_; }

    RankRouting routing(int rank, std::uint64_t step) const override {
        const std::int64_t begin = first_token(rank), end = first_token(rank + 1);
        RankRouting made{int(end - begin), shape_.top_k, {}, {}};
        made.weights.resize(std::size_t(made.tokens) * shape_.top_k);
        const RandomField random(seed_, Purpose::routing, 4);
        for (std::int64_t i = begin; i < end; ++i) {
            // Of the whole trace, so that a token has its weights in whatever step it comes.
            const auto token = std::int64_t((step * std::uint64_t(step_tokens_) + i) % std::uint64_t(all_tokens_));
            const auto first = experts_.begin() + token * shape_.top_k;
            made.experts.insert(made.experts.end(), first, first + shape_.top_k);
            draw_weights(random, token,
                         std::span(made.weights).subspan(std::size_t(i - begin) * shape_.top_k, shape_.top_k));
        }
        return made;
    }

private:
    // The least i with floor(i R / T) = rank.
    std::int64_t first_token(int rank) const { return (step_tokens_ * rank + shape_.ranks - 1) / shape_.ranks; }

    std::string name_;
    WorkloadShape shape_;
    std::uint64_t seed_;
    std::int64_t all_tokens_, step_tokens_ = 0;
    std::vector<int> experts_;  ///< [T, k]
};

}  // namespace

std::unique_ptr<Workload> make_trace_workload(const RoutingTrace& trace, const TraceReplay& replay) {
    return std::make_unique<TraceWorkload>(trace, replay);
}

}  // namespace expar
