#include "expar/moe/chunks.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "expar/moe/dispatcher.hpp"
#include "support/random_routing.hpp"

namespace expar {
namespace {

TEST(Chunks, TakeFloorOrCeilOfTheTokensInTheirOrder) {
    for (const int tokens : {0, 1, 5, 7, 64})
        for (const int chunks : {1, 2, 3, 7}) {
            EXPECT_EQ(first_token_of(0, chunks, tokens), 0);
            EXPECT_EQ(first_token_of(chunks, chunks, tokens), tokens);
            for (int c = 0; c < chunks; ++c) {
                const int taken = first_token_of(c + 1, chunks, tokens) - first_token_of(c, chunks, tokens);
                EXPECT_TRUE(taken == tokens / chunks || taken == (tokens + chunks - 1) / chunks);
            }
        }
}

TEST(Chunks, PartOfARoutingHasItsTokens) {
    const auto device = make_reference_device();
    const Routing all = random_routing(*device, DType::float64, 9, 2, 5, 0);
    const Routing part = part_of(all, 3, 4);
    EXPECT_EQ(part.tokens, 4);
    EXPECT_TRUE(std::ranges::equal(part.experts.host(), all.experts.host().subspan(6, 8)));
    EXPECT_TRUE(std::ranges::equal(part.kept.host(), all.kept.host().subspan(6, 8)));
    for (int t = 0; t < 4; ++t)
        EXPECT_TRUE(std::ranges::equal(part.weights.view().row<double>(t), all.weights.view().row<double>(3 + t)));
    EXPECT_EQ(part_of(all, 9, 0).tokens, 0);
}

// Rows that say who they are land where the plan of all tokens puts them.
TEST(Chunks, JoinedRowsLieAsInOnePlan) {
    constexpr int experts = 7, top_k = 3, tokens = 11, chunks = 4, hidden = 2;
    const Communicator world(MPI_COMM_WORLD);
    const auto device = make_reference_device();
    const int first = world.rank() * tokens;
    const Placement placement = shuffled_placement(1, experts, world.size(), 5);
    const Routing routing = random_routing(*device, DType::float64, tokens, top_k, experts, first);
    Matrix x(*device, DType::float64, tokens, hidden);
    for (int t = 0; t < tokens; ++t) std::ranges::fill(x.view().row<double>(t), first + t);
    for (const std::string& kind : dispatcher_names()) {
        const auto dispatcher = make_dispatcher(kind, "native", world, *device);
        const auto scope = [&](int from) {
            return PlanScope{.placement = &placement, .member = world.rank(), .first_token = first + from};
        };
        const DispatchPlan whole = dispatcher->plan(routing, scope(0));
        const LentRows expected = dispatcher->start_dispatch(whole, x).finish();

        std::vector<DispatchPlan> plans;
        std::vector<LentRows> rows;
        for (int c = 0; c < chunks; ++c) {
            const int from = first_token_of(c, chunks, tokens), count = first_token_of(c + 1, chunks, tokens) - from;
            plans.push_back(dispatcher->plan(part_of(routing, from, count), scope(from)));
            rows.push_back(dispatcher->start_dispatch(plans.back(), x.view().slice(from, count)).finish());
        }
        std::vector<const DispatchPlan*> named;
        for (const DispatchPlan& plan : plans) named.push_back(&plan);
        const JoinedRows joined = join_rows(named, *device);
        EXPECT_EQ(joined.offsets, whole.expert_offsets) << kind;
        std::set<int> taken;
        for (int c = 0; c < chunks; ++c)
            for (int r = 0; r < rows[std::size_t(c)].view().rows(); ++r) {
                const int place = joined.places[std::size_t(c)].host()[std::size_t(r)];
                EXPECT_TRUE(taken.insert(place).second) << kind;
                EXPECT_EQ(rows[std::size_t(c)].view().row<double>(r)[0], expected.view().row<double>(place)[0]) << kind;
            }
        EXPECT_EQ(int(taken.size()), whole.expert_offsets.back()) << kind;
    }
}

}  // namespace
}  // namespace expar
