#include "expar/moe/dispatch_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "support/random_routing.hpp"

namespace expar {
namespace {

// All members of an EP group in one process: headers are handed over in memory instead of by messages.
class Group {
public:
    Group(Device& device, const Placement& placement, std::vector<Routing> routings, CombineOrder order) {
        const int members = placement.members();
        std::vector<PlanScope> scopes;
        std::int64_t first = 0;
        for (int m = 0; m < members; ++m) {
            scopes.push_back({&placement, 0, m, order, first});
            first += routings[m].tokens;
            sources.push_back(plan_source(routings[m], scopes[m]));
        }
        for (int m = 0; m < members; ++m) {
            std::vector<int> rows_from;
            for (int s = 0; s < members; ++s) rows_from.push_back(s == m ? 0 : sources[s].rows_to[m]);
            Matrix headers = headers_for(device, m, rows_from);
            SourcePlan own = plan_source(routings[m], scopes[m]);
            plans.push_back(complete_plan(std::move(own), rows_from, headers, DType::float64, scopes[m]));
        }
    }
    std::vector<SourcePlan> sources;
    std::vector<DispatchPlan> plans;

private:
    Matrix headers_for(Device& device, int member, const std::vector<int>& rows_from) {
        int rows = 0;
        for (const int count : rows_from) rows += count;
        Matrix headers(device, DType::int32, rows, sources[member].headers.cols());
        int next = 0;
        for (int s = 0; s < int(sources.size()); ++s) {
            int skip = 0;
            for (int m = 0; m < member; ++m) skip += m == s ? 0 : sources[s].rows_to[m];
            for (int i = 0; i < rows_from[s]; ++i)
                std::ranges::copy(sources[s].headers.view().row<int>(skip + i),
                                  headers.view().row<int>(next++).begin());
        }
        return headers;
    }
};

class DispatchPlanTest : public testing::TestWithParam<CombineOrder> {
protected:
    std::unique_ptr<Device> device = make_reference_device();
};

// A brute-force count over (token, choice), which knows nothing of lists and offsets.
TEST_P(DispatchPlanTest, ServesEveryKeptChoiceOnceAndSendsEveryRowOncePerMember) {
    const Placement placement(7, {{{6, 0, 3}, {}, {1, 5}, {2, 4, 6}}});  // expert 6 has a copy, member 1 no expert
    std::vector<Routing> routings;
    std::int64_t first = 0;
    for (const int tokens : {11, 5, 0, 8}) {
        routings.push_back(random_routing(*device, DType::float64, tokens, 3, 7, first));
        first += tokens;
    }
    routings[0].kept.host()[4] = 0;
    routings[3].experts.host()[2] = -1;
    std::set<std::pair<int, int>> rows;  // (global token, member)
    std::vector<int> served(4);
    std::map<std::pair<int, int>, std::vector<double>> weights;  // of (member, expert), by source member, then token
    first = 0;
    for (const Routing& routing : routings) {
        for (int t = 0; t < routing.tokens; ++t)
            for (int j = 0; j < 3; ++j)
                if (const int e = routing.experts_of(t)[j]; e >= 0 && routing.is_kept(t, j)) {
                    const int host = placement.host_for(0, e, first + t);
                    rows.insert({int(first) + t, host});
                    ++served[host];
                    weights[{host, e}].push_back(routing.weights.view().row<double>(t)[j]);
                }
        first += routing.tokens;
    }

    const Group group(*device, placement, std::move(routings), GetParam());

    int delivered = 0, caused = 0;
    for (int m = 0; m < 4; ++m) {
        const DispatchPlan& plan = group.plans[m];
        EXPECT_EQ(plan.expert_offsets.back(), served[m]);
        EXPECT_EQ(plan.expert_offsets.size(), placement.experts_on(0, m).size() + 1);
        delivered += plan.rows_here;
        caused += plan.rows_delivered;
        for (int peer = 0; peer < 4; ++peer) {
            EXPECT_EQ(plan.rows.send[peer], group.plans[peer].rows.recv[m]);
            EXPECT_EQ(plan.returns.send[peer], group.plans[peer].returns.recv[m]);
        }
        EXPECT_EQ(plan.expert_rows.size(), std::size_t(served[m]));
        int row = 0;
        for (const int expert : placement.experts_on(0, m))
            for (const double weight : weights[{m, expert}])
                EXPECT_EQ(plan.expert_weights.view().row<double>(row++)[0], weight);
    }
    EXPECT_EQ(delivered, int(rows.size()));
    EXPECT_EQ(caused, int(rows.size()));
}

INSTANTIATE_TEST_SUITE_P(Orders, DispatchPlanTest, testing::Values(CombineOrder::exact, CombineOrder::reduced));

// Members 0 and 1, experts {0, 1} and {2, 3}; small enough to be written down.
TEST(DispatchPlan, IsWhatAHandDrawsForTwoMembers) {
    const auto device = make_reference_device();
    const Placement placement = linear_placement(1, 4, 2);
    std::vector<Routing> routings;
    routings.push_back(random_routing(*device, DType::float64, 2, 2, 4));
    routings.push_back(random_routing(*device, DType::float64, 1, 2, 4));
    std::ranges::copy(std::vector{2, 0, 1, 0}, routings[0].experts.host().begin());  // token 0: 2, 0; token 1: 1, 0
    std::ranges::copy(std::vector{3, 2}, routings[1].experts.host().begin());        // token 2: 3, 2
    const double weight_of_token0_expert2 = routings[0].weights.view().row<double>(0)[0];

    const Group group(*device, placement, std::move(routings), CombineOrder::exact);

    const auto list = [](const Array<int>& array) {
        return std::vector<int>(array.host().begin(), array.host().end());
    };
    const DispatchPlan& first = group.plans[0];
    EXPECT_EQ(first.rows.send, (std::vector{0, 1}));
    EXPECT_EQ(list(first.sent_tokens), (std::vector{0}));
    EXPECT_EQ(first.expert_offsets, (std::vector{0, 2, 3}));
    EXPECT_EQ(list(first.expert_rows), (std::vector{0, 1, 1}));        // expert 0: tokens 0, 1; expert 1: token 1
    EXPECT_EQ(list(first.choice_returns), (std::vector{3, 0, 2, 1}));  // token 0, choice 0 comes from member 1
    const DispatchPlan& second = group.plans[1];
    EXPECT_EQ(second.rows_here, 2);
    EXPECT_EQ(second.expert_offsets, (std::vector{0, 2, 3}));
    EXPECT_EQ(list(second.expert_rows),
              (std::vector{1, 0, 0}));  // expert 2: received row 0 (T + 0), then its own token
    EXPECT_EQ(list(second.returned), (std::vector{0}));
    EXPECT_EQ(second.expert_weights.view().row<double>(0)[0], weight_of_token0_expert2);
}

TEST(DispatchPlan, NamesTheExpertThatIsNotHere) {
    const auto device = make_reference_device();
    const Placement asked = linear_placement(6, 4, 2);
    const Placement other(4, std::vector(6, std::vector<std::vector<int>>{{0, 2}, {1, 3}}));
    std::vector<Routing> routings;
    routings.push_back(random_routing(*device, DType::float64, 1, 1, 4));
    routings[0].experts.host()[0] = 1;
    const SourcePlan source = plan_source(routings[0], {&asked, 5, 1, CombineOrder::exact, 0});
    const PlanScope scope{&other, 5, 0, CombineOrder::exact, 0};
    SourcePlan empty = plan_source(random_routing(*device, DType::float64, 0, 1, 4), scope);
    try {
        (void)complete_plan(std::move(empty), {0, 1}, source.headers, DType::float64, scope);
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("layer 5: member 1 asks member 0 for expert 1"), std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace expar
