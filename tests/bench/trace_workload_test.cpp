#include "expar/bench/trace_workload.hpp"

#include <gtest/gtest.h>

#include "support/temporary_folder.hpp"

namespace expar {
namespace {

/// 10 tokens, layers 2 and 5; in layer 5 token t chooses t, then (t + 1) mod 10.
RoutingTrace counting_trace() {
    RoutingTrace trace;
    trace.experts = 10;
    trace.top_k = 2;
    trace.layers = {2, 5};
    for (int t = 0; t < 10; ++t)
        for (const int choice : {0, 1, t, (t + 1) % 10}) trace.choices.push_back(std::uint16_t(choice));
    trace.documents = {{"", "", false, 10}};
    return trace;
}

std::vector<int> firsts(const RankRouting& rank) {
    std::vector<int> all;
    for (int t = 0; t < rank.tokens; ++t) all.push_back(rank.experts_of(t)[0]);
    return all;
}

// floor(4 i / 10): 0 0 0 1 1 2 2 2 3 3
TEST(TraceWorkload, DealsTheTokensOfALayerInOrder) {
    const auto workload = make_trace_workload(counting_trace(), {.layer = 5, .ranks = 4});
    const auto all = workload->routings(0);
    EXPECT_EQ(firsts(all[0]), (std::vector<int>{0, 1, 2}));
    EXPECT_EQ(firsts(all[1]), (std::vector<int>{3, 4}));
    EXPECT_EQ(firsts(all[2]), (std::vector<int>{5, 6, 7}));
    EXPECT_EQ(firsts(all[3]), (std::vector<int>{8, 9}));
    EXPECT_EQ(all[3].experts_of(1)[1], 0);
    EXPECT_EQ(hash_of(workload->routings(3)), hash_of(all));
    EXPECT_EQ(workload->name(), "trace:5");
}

TEST(TraceWorkload, StepsTakeTheNextTokensAndBeginAnew) {
    const auto workload = make_trace_workload(counting_trace(), {.layer = 5, .ranks = 2, .tokens = 2});
    EXPECT_EQ(firsts(workload->routing(1, 0)), (std::vector<int>{2, 3}));
    EXPECT_EQ(firsts(workload->routing(0, 2)), (std::vector<int>{8, 9}));
    EXPECT_EQ(firsts(workload->routing(1, 2)), (std::vector<int>{0, 1}));
    EXPECT_EQ(workload->routing(1, 2).weights, workload->routing(0, 0).weights);  // the same tokens
    EXPECT_EQ(workload->shape().experts, 10);
}

TEST(TraceWorkload, FewerTokensThanRanksLeaveSomeWithout) {
    const auto all = make_trace_workload(counting_trace(), {.layer = 2, .ranks = 16})->routings(0);
    int tokens = 0;
    for (const auto& rank : all) {
        EXPECT_LE(rank.tokens, 1);
        tokens += rank.tokens;
    }
    EXPECT_EQ(tokens, 10);
}

TEST(TraceWorkload, AnUnknownLayerIsRefused) {
    EXPECT_EQ(
        testing_support::complaint_of<UserError>([] { (void)make_trace_workload(counting_trace(), {.layer = 3}); }),
        "the trace has no layer 3; it has 2, 5");
}

}  // namespace
}  // namespace expar
