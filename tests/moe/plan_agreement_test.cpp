#include "../../src/moe/plan_agreement.hpp"

#include <gtest/gtest.h>

#include "support/random_routing.hpp"

namespace expar {
namespace {

class PlanAgreementTest : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_reference_device();
    Placement placement = linear_placement(2, 5, 3);
    PlanScope scope{&placement, 1, 2, CombineOrder::exact, 0};
    std::uint32_t plan_hash = hash_of_plan(2, DType::float32, scope);

    // What member 0 sends to member 2.
    [[nodiscard]] std::vector<int> announced() const {
        SourcePlan source;
        source.rows_to = {4, 5, 6};
        source.returns_to = {7, 8, 9};
        PlanScope of_first = scope;
        of_first.member = 0;
        const auto all = sealed(source, of_first, plan_hash);
        return {all.end() - Announcement::values, all.end()};
    }
    [[nodiscard]] std::string complaint(std::span<const int> received, std::uint32_t hash) const {
        try {
            (void)unsealed(received, scope, hash);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
};

TEST_F(PlanAgreementTest, OpensWhatAMemberOfTheSamePlanHasSealed) {
    const auto opened = unsealed(announced(), scope, plan_hash);
    ASSERT_EQ(opened.size(), 1);
    EXPECT_EQ(opened[0].rows, 6);
    EXPECT_EQ(opened[0].choices, 9);
    EXPECT_EQ(opened[0].all_rows, 11);
    EXPECT_EQ(opened[0].all_choices, 17);
}

TEST_F(PlanAgreementTest, RefusesAnyNumberThatChangedOnItsWay) {
    for (int i = 0; i < Announcement::values; ++i) {
        auto changed = announced();
        ++changed[std::size_t(i)];
        EXPECT_NE(complaint(changed, plan_hash).find("plan of layer 1: member 0 announces "), std::string::npos) << i;
    }
}

TEST_F(PlanAgreementTest, TellsEveryDifferenceOfTwoPlansApart) {
    PlanScope other_layer = scope, other_order = scope, other_placement = scope;
    other_layer.layer = 0;
    other_order.order = CombineOrder::reduced;
    const Placement moved(5, {{{0, 1}, {2, 3}, {4}}, {{0, 1}, {2}, {3, 4}}});
    other_placement.placement = &moved;
    const std::pair<const char*, std::uint32_t> others[] = {
        {"k", hash_of_plan(3, DType::float32, scope)},
        {"type", hash_of_plan(2, DType::float64, scope)},
        {"layer", hash_of_plan(2, DType::float32, other_layer)},
        {"order", hash_of_plan(2, DType::float32, other_order)},
        {"placement", hash_of_plan(2, DType::float32, other_placement)},
    };
    for (const auto& [difference, other] : others) {
        EXPECT_NE(other, plan_hash) << difference;
        EXPECT_NE(complaint(announced(), other), "");
    }
}

TEST_F(PlanAgreementTest, NamesTheMemberWhoseHeadersHoldOtherChoices) {
    DispatchPlan plan;
    plan.layer = 1;
    plan.member = 2;
    plan.returns.send = {3, 4, 0};
    EXPECT_NO_THROW(expect_announced(std::vector<Announcement>{{2, 3}, {4, 4}, {0, 0}}, plan));
    try {
        expect_announced(std::vector<Announcement>{{2, 3}, {4, 5}, {0, 0}}, plan);
        FAIL();
    } catch (const Error& error) {
        EXPECT_NE(std::string(error.what()).find("member 1 announced 5 choices for member 2, its headers hold 4"),
                  std::string::npos)
            << error.what();
    }
}

}  // namespace
}  // namespace expar
