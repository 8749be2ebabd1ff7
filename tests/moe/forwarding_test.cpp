#include "../../src/moe/forwarding.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "support/random_routing.hpp"

namespace expar {
namespace {

// Five members, two on a node: 0 1 | 2 3 | 4. Member m hosts expert m.
class ForwardingTest : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_reference_device();
    Placement placement = linear_placement(1, 5, 5);
    Topology topology = topology_of(5, 2);

    [[nodiscard]] PlanScope scope_of(int member) const {
        PlanScope scope{&placement, 0, member};
        scope.topology = &topology;
        return scope;
    }
    [[nodiscard]] std::string complaint(int mask) {
        const PlanScope scope = scope_of(2);
        SourcePlan source =
            plan_source(random_routing(*device, DType::float64, 0, 2, 5), scope, Delivery::once_per_node);
        CarriedRows carried = std::move(source.carried);
        const Matrix no_headers(*device, DType::int32, 0, 6);
        DispatchPlan plan = complete_plan(std::move(source), {0, 0, 0, 0, 0}, no_headers, DType::float64, scope);
        Matrix served(*device, DType::int32, 1, 1);
        served.view().row<int>(0)[0] = mask;
        try {
            add_forwarding(plan, std::move(carried), {{1, 0, 0, 0, 0}, served}, scope);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
};

TEST_F(ForwardingTest, RowsGoToTheMemberWithTheSourcesPlace) {
    const PlanScope scope = scope_of(1);
    const Forwarders forwarders(scope);
    EXPECT_EQ(forwarders.nodes(), 3);
    EXPECT_EQ(forwarders.forwarder(0, 1), 2);
    EXPECT_EQ(forwarders.forwarder(1, 1), 3);
    EXPECT_EQ(forwarders.forwarder(1, 2), 4);
    EXPECT_EQ(forwarders.forwarder(4, 0), 0);
    EXPECT_EQ(forwarders.words(), 1);
}

// Member 1's tokens: for 2 and 3; for 0, 3 and itself; for 4, one dropped.
TEST_F(ForwardingTest, ARowIsCarriedOnceToANodeWithAMaskOfItsMembers) {
    const std::vector<int> member_of = {2, 3, -1, 0, 3, 1, -1, 4, -1};
    const CarriedRows carried = carried_rows(member_of, 3, scope_of(1), *device);
    EXPECT_EQ(carried.rows_to, (std::vector{1, 0, 0, 2, 1}));
    EXPECT_TRUE(std::ranges::equal(carried.tokens.host(), std::vector{1, 0, 1, 2}));
    ASSERT_EQ(carried.served.rows(), 3);
    EXPECT_EQ(carried.served.view().row<int>(0)[0], 3);
    EXPECT_EQ(carried.served.view().row<int>(1)[0], 2);
    EXPECT_EQ(carried.served.view().row<int>(2)[0], 1);
}

TEST_F(ForwardingTest, MasksReachBeyondAWord) {
    const Placement many = linear_placement(1, 40, 80);
    const Topology two = topology_of(80, 40);
    PlanScope scope{&many, 0, 0};
    scope.topology = &two;
    const CarriedRows carried = carried_rows(std::vector{40, 79}, 2, scope, *device);
    EXPECT_EQ(carried.rows_to[40], 1);
    EXPECT_TRUE(std::ranges::equal(carried.served.view().row<int>(0), std::vector{1, 1 << 7}));
}

TEST_F(ForwardingTest, NamesTheMemberWhoseMaskDoesNotFit) {
    EXPECT_NE(complaint(4).find("member 0 carries a row to member 2 for place 2 of 2"), std::string::npos)
        << complaint(4);
    EXPECT_NE(complaint(1).find("1 rows come from other nodes for member 2, their headers say 0"), std::string::npos)
        << complaint(1);
}

}  // namespace
}  // namespace expar
