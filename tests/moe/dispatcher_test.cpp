#include "expar/moe/dispatcher.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <string>
#include <vector>

#include "expar/base/names.hpp"
#include "expar/comm/exchange.hpp"
#include "support/random_routing.hpp"

namespace expar {
namespace {

constexpr int total_tokens = 61;
constexpr int experts = 7;
constexpr int top_k = 3;
constexpr int hidden = 5;

struct Case {
    std::string kind, exchange;
    CombineOrder order;
};

// Every kind in every order, on every exchange where it stands on one, and on nodes that the ranks of this one play.
std::vector<Case> cases() {
    std::vector<std::string> exchanges = exchange_names();
    exchanges.insert(exchanges.end(), {"native:ranks-per-node=2", "spread:ranks-per-node=3", "node:ranks-per-node=2"});
    std::vector<Case> all;
    for (const std::string& kind : dispatcher_names())
        for (const std::string& exchange : exchanges)
            for (const auto& order : combine_orders)
                if (kind != "window" || exchange.starts_with("native")) all.push_back({kind, exchange, order.value});
    return all;
}

class DispatcherTest : public testing::TestWithParam<Case> {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_reference_device();
    std::vector<int> first = unequal_runs(total_tokens, world.size());
    int own_first = first[world.rank()];
    int own = first[world.rank() + 1] - own_first;
    Placement placement = shuffled_placement(1, experts, world.size(), 5);
    std::unique_ptr<Dispatcher> dispatcher = make_dispatcher(GetParam().kind, GetParam().exchange, world, *device);
    PlanScope scope{&placement, 0, world.rank(), GetParam().order, own_first};

    // Every expert has a transform of its own, so that a row that went astray cannot pass.
    void apply_experts(const DispatchPlan& plan, ConstRows in, Rows out) const {
        const auto here = placement.experts_on(0, world.rank());
        for (std::size_t slot = 0; slot < here.size(); ++slot)
            for (int r = plan.expert_offsets[slot]; r < plan.expert_offsets[slot + 1]; ++r)
                for (int c = 0; c < hidden; ++c)
                    out.row<double>(r)[c] = (here[slot] + 1) * in.row<double>(r)[c] + here[slot] * 100 + c;
    }
    // The exchange hands nothing to MPI but the rows of this rank.
    [[nodiscard]] static bool sends_rows_alone() {
        const std::string kind = parse_exchange(GetParam().exchange, 1).kind;
        return GetParam().kind == "window" || entry_named(exchange_kinds, "exchange", kind).direct;
    }
    static double transformed(int expert, double value, int c) { return (expert + 1) * value + expert * 100 + c; }
};

TEST_P(DispatcherTest, CombinesWhatTheChosenExpertsMadeOfEveryToken) {
    Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    if (own > 2) routing.kept.host()[1] = routing.kept.host()[3 * top_k - 1] = 0;
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);

    const DispatchPlan plan = dispatcher->plan(routing, scope);
    const LentRows rows = dispatcher->start_dispatch(plan, x).finish();
    const LentRows outputs = dispatcher->lend_outputs(plan, hidden, DType::float64);
    apply_experts(plan, rows, outputs);
    const Matrix y = dispatcher->start_combine(plan, outputs, routing.weights).finish();

    for (int t = 0; t < own; ++t)
        for (int c = 0; c < hidden; ++c) {
            double expected = 0;
            for (int j = 0; j < top_k; ++j)
                if (routing.is_kept(t, j))
                    expected += routing.weights.view().row<double>(t)[j] *
                                transformed(routing.experts_of(t)[j], x.view().row<double>(t)[c], c);
            EXPECT_NEAR(y.view().row<double>(t)[c], expected, 1e-12 * std::max(1., std::abs(expected)));
        }
}

TEST_P(DispatcherTest, NamesAMemberThatPlansWithAnotherPlacement) {
    if (world.size() == 1) GTEST_SKIP() << "nobody to disagree with";
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const Placement other = linear_placement(1, experts, world.size());
    if (world.rank() == 1) scope.placement = &other;
    try {
        (void)dispatcher->plan(routing, scope);
        ADD_FAILURE() << "rank " << world.rank() << " has a plan";
    } catch (const Error& error) {
        const std::string expected = world.rank() == 1 ? "plan of layer 0: member 0 " : "plan of layer 0: member 1 ";
        EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
}

TEST_P(DispatcherTest, BackwardGivesTheGradientsOfThatSum) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const Matrix d_y = random_tokens(*device, DType::float64, own, hidden, 2, own_first);

    const DispatchPlan plan = dispatcher->plan(routing, scope);
    const LentRows rows = dispatcher->start_dispatch(plan, x).finish();
    const LentRows outputs = dispatcher->lend_outputs(plan, hidden, DType::float64);
    apply_experts(plan, rows, outputs);
    const CombineGradient combine = dispatcher->start_combine_backward(plan, d_y, outputs).finish();
    Matrix d_rows(*device, DType::float64, plan.expert_offsets.back(), hidden);
    const auto here = placement.experts_on(0, world.rank());
    for (std::size_t slot = 0; slot < here.size(); ++slot)
        for (int r = plan.expert_offsets[slot]; r < plan.expert_offsets[slot + 1]; ++r)
            for (int c = 0; c < hidden; ++c)
                d_rows.view().row<double>(r)[c] = (here[slot] + 1) * combine.d_outputs.view().row<double>(r)[c];
    const DispatchGradient gradient = dispatcher->start_dispatch_backward(plan, d_rows, combine.d_weights).finish();

    for (int t = 0; t < own; ++t) {
        for (int j = 0; j < top_k; ++j) {
            double expected = 0;
            for (int c = 0; c < hidden; ++c)
                expected +=
                    d_y.view().row<double>(t)[c] * transformed(routing.experts_of(t)[j], x.view().row<double>(t)[c], c);
            EXPECT_NEAR(gradient.d_weights.view().row<double>(t)[j], expected, 1e-10);
        }
        for (int c = 0; c < hidden; ++c) {
            double expected = 0;
            for (int j = 0; j < top_k; ++j)
                expected += routing.weights.view().row<double>(t)[j] * (routing.experts_of(t)[j] + 1) *
                            d_y.view().row<double>(t)[c];
            EXPECT_NEAR(gradient.d_x.view().row<double>(t)[c], expected, 1e-12 * std::max(1., std::abs(expected)));
        }
    }
}

// One expert takes every token of every rank; the other members serve nobody.
TEST_P(DispatcherTest, EndsWhenOneExpertIsHotAndWhenNobodyHasTokens) {
    Routing routing = random_routing(*device, DType::float64, own, 1, experts, own_first);
    std::ranges::fill(routing.experts.host(), experts - 1);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);
    const bool host = std::ranges::count(placement.experts_on(0, world.rank()), experts - 1) > 0;
    EXPECT_EQ(plan.expert_offsets.back(), host ? total_tokens : 0);
    (void)dispatcher->start_dispatch(plan, x).finish();

    const DispatchPlan none = dispatcher->plan(random_routing(*device, DType::float64, 0, 1, experts), scope);
    const Matrix nothing(*device, DType::float64, 0, hidden);
    EXPECT_EQ(dispatcher->start_dispatch(none, nothing).finish().view().rows(), 0);
}

TEST_P(DispatcherTest, KeepsSeveralMovementsOpen) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const Matrix z = random_tokens(*device, DType::float64, own, hidden, 9, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);

    auto first_moving = dispatcher->start_dispatch(plan, x);
    auto second_moving = dispatcher->start_dispatch(plan, z);
    const LentRows second = second_moving.finish();
    const LentRows first_rows = first_moving.finish();

    const LentRows again = dispatcher->start_dispatch(plan, x).finish();
    const LentRows again_z = dispatcher->start_dispatch(plan, z).finish();
    for (int r = 0; r < first_rows.view().rows(); ++r) {
        EXPECT_TRUE(std::ranges::equal(first_rows.view().row<double>(r), again.view().row<double>(r)));
        EXPECT_TRUE(std::ranges::equal(second.view().row<double>(r), again_z.view().row<double>(r)));
    }
}

// One in each movement that another rank may be behind with: each rank finishes in an order of its own.
TEST_P(DispatcherTest, FinishesInAnyOrderWhatAllStartedInOne) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);
    constexpr int open = 5;
    std::vector<Matrix> x;
    for (int i = 0; i < open; ++i) x.push_back(random_tokens(*device, DType::float64, own, hidden, 20 + i, own_first));
    std::vector<Moving<LentRows>> moving;
    for (int i = 0; i < open; ++i) moving.push_back(dispatcher->start_dispatch(plan, x[i]));
    std::vector<LentRows> rows(open);
    for (int i = 0; i < open; ++i) {
        const int at = (i * 2 + world.rank()) % open;
        rows[at] = moving[at].finish();
    }
    for (int i = 0; i < open; ++i) {
        const LentRows again = dispatcher->start_dispatch(plan, x[i]).finish();
        for (int r = 0; r < again.view().rows(); ++r)
            EXPECT_TRUE(std::ranges::equal(rows[i].view().row<double>(r), again.view().row<double>(r))) << i;
    }
}

// What is lent stays as it is while much more is lent and given back.
TEST_P(DispatcherTest, LentRowsStayWhileOthersComeAndGo) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const LentRows expected = dispatcher->start_dispatch(plan, x).finish();
    std::vector<LentRows> kept;
    for (int i = 0; i < 100; ++i) {
        LentRows rows = dispatcher->start_dispatch(plan, x).finish();
        for (int r = 0; r < rows.view().rows(); ++r)
            ASSERT_TRUE(std::ranges::equal(rows.view().row<double>(r), expected.view().row<double>(r))) << i;
        if (i % 3 > 0) kept.push_back(std::move(rows));
        if (i % 7 == 0) kept.erase(kept.begin(), kept.begin() + std::ptrdiff_t(kept.size() / 2));
    }
    for (const LentRows& rows : kept)
        for (int r = 0; r < rows.view().rows(); ++r)
            EXPECT_TRUE(std::ranges::equal(rows.view().row<double>(r), expected.view().row<double>(r)));
}

// What one dispatch sends to other ranks and stores, in rows.
struct Moved {
    std::size_t sent, copied;
};
Moved moved(const std::string& kind, const DispatchPlan& plan) {
    if (kind == "window") return {0, std::size_t(plan.choices)};
    const std::size_t sent = plan.sent_tokens.size() + plan.forwarding.forwarded.size();
    return {sent, 2 * sent + plan.expert_rows.size()};  // packed, sent, unpacked
}

TEST_P(DispatcherTest, CountsTheRowsThatWereHandedOver) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);
    const auto before = dispatcher->traffic().total_bytes();
    (void)dispatcher->start_dispatch(plan, x).finish();
    if (sends_rows_alone()) {
        EXPECT_EQ(dispatcher->traffic().total_bytes() - before,
                  std::int64_t(moved(GetParam().kind, plan).sent) * hidden * std::int64_t(sizeof(double)));
    }
    EXPECT_EQ(dispatcher->counters().rows_delivered, plan.rows_delivered);
}

TEST_P(DispatcherTest, CountsTheBytesThatItStoresAndHandsOver) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    const Matrix x = random_tokens(*device, DType::float64, own, hidden, 1, own_first);
    const DispatchPlan plan = dispatcher->plan(routing, scope);
    if (sends_rows_alone()) {
        EXPECT_EQ(dispatcher->counters().bytes_copied, dispatcher->traffic().total_bytes());  // headers
    }
    const auto before = dispatcher->counters().bytes_copied;
    (void)dispatcher->start_dispatch(plan, x).finish();
    EXPECT_EQ(dispatcher->counters().bytes_copied - before,
              std::int64_t(moved(GetParam().kind, plan).copied) * hidden * std::int64_t(sizeof(double)));
}

// A token that chose two experts of a member is delivered there once, whatever moves it.
TEST_P(DispatcherTest, AgreesOnWhatIsDelivered) {
    const Routing routing = random_routing(*device, DType::float64, own, top_k, experts, own_first);
    int expected = 0;
    for (int t = 0; t < own; ++t) {
        std::set<int> members;
        for (const int expert : routing.experts_of(t)) members.insert(placement.host_for(0, expert, own_first + t));
        expected += int(members.size());
    }
    EXPECT_EQ(dispatcher->plan(routing, scope).rows_delivered, expected);
}

INSTANTIATE_TEST_SUITE_P(All, DispatcherTest, testing::ValuesIn(cases()), [](const auto& test) {
    std::string name = concat(test.param.kind, "_", test.param.exchange, "_", name_of(test.param.order));
    std::ranges::replace_if(
        name, [](unsigned char c) { return !std::isalnum(c); }, '_');
    return name;
});

TEST(DispatcherKinds, AreFoundByName) {
    const Communicator world(MPI_COMM_WORLD);
    const auto device = make_reference_device();
    EXPECT_EQ(dispatcher_names(), (std::vector<std::string>{"packed", "naive", "window", "hierarchical"}));
    EXPECT_THROW((void)make_dispatcher("pigeon", "native", world, *device), UserError);
    EXPECT_THROW((void)make_dispatcher("packed", "pigeon", world, *device), UserError);
}

}  // namespace
}  // namespace expar
