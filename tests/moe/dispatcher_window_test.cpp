#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "expar/moe/dispatcher.hpp"
#include "support/random_routing.hpp"

namespace expar {
namespace {

constexpr int experts = 6, top_k = 2, hidden = 8;

class WindowDispatcherTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD, {.timeout_seconds = 20, .on_stuck_call = {}}};
    std::unique_ptr<Device> device = make_reference_device();
    Placement placement = linear_placement(4, experts, world.size());
    PlanScope scope{&placement, 0, world.rank(), CombineOrder::exact, 1000 * world.rank()};

    Routing routing(int tokens) {
        return random_routing(*device, DType::float64, tokens, top_k, experts, 10 * world.rank());
    }
    Matrix rows(int tokens, int cols, std::uint64_t seed) {
        return random_tokens(*device, DType::float64, tokens, cols, seed, 1000 * world.rank());
    }
    std::string failure(const std::function<void()>& work) {
        try {
            work();
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
    static bool equal(ConstRows a, ConstRows b) {
        if (a.rows() != b.rows()) return false;
        for (int r = 0; r < a.rows(); ++r)
            if (!std::ranges::equal(a.row<double>(r), b.row<double>(r))) return false;
        return true;
    }
};

// The ring of offers has fewer entries.
TEST_F(WindowDispatcherTest, MoreMovementsThanFitAreOpen) {
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const Routing chosen = routing(5);
    const DispatchPlan plan = dispatcher->plan(chosen, scope);
    const Matrix x = rows(5, hidden, 1);
    const LentRows expected = dispatcher->start_dispatch(plan, x).finish();
    std::vector<Moving<LentRows>> moving;
    for (int i = 0; i < 200; ++i) moving.push_back(dispatcher->start_dispatch(plan, x));
    for (auto& each : moving) EXPECT_TRUE(equal(each.finish(), expected));
}

// From rows of 8 elements to rows of 8192, with everything kept: the pool grows several times under way.
TEST_F(WindowDispatcherTest, ThePoolGrowsWhileRowsAreLent) {
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const Routing chosen = routing(9);
    const DispatchPlan plan = dispatcher->plan(chosen, scope);
    std::vector<LentRows> lent;
    std::vector<Matrix> x, y;
    for (int cols = 8; cols <= 8192; cols *= 2) {
        x.push_back(rows(9, cols, 1));
        auto moving = dispatcher->start_dispatch(plan, x.back());
        (void)moving.progress();  // may not grow the pool, since it does not wait
        lent.push_back(moving.finish());
        const LentRows outputs = dispatcher->lend_outputs(plan, cols, DType::float64);
        const Rows in = lent.back(), out = outputs;
        for (int r = 0; r < in.rows(); ++r) std::ranges::copy(in.row<double>(r), out.row<double>(r).begin());
        y.push_back(dispatcher->start_combine(plan, outputs, chosen.weights).finish());
    }
    for (std::size_t i = 0; i < x.size(); ++i)
        for (int t = 0; t < 9; ++t) {
            const auto w = chosen.weights.view().row<double>(t);
            for (int c = 0; c < x[i].cols(); ++c)
                ASSERT_NEAR(y[i].view().row<double>(t)[c], (w[0] + w[1]) * x[i].view().row<double>(t)[c], 1e-12);
        }
    for (std::size_t i = 0; i < x.size(); ++i)
        EXPECT_TRUE(equal(lent[i], dispatcher->start_dispatch(plan, x[i]).finish())) << i;
    EXPECT_EQ(dispatcher->note(), "");
}

// More than any node has for a row; rows as they then come fit anywhere.
TEST_F(WindowDispatcherTest, TooLittleMemoryMeansPacked) {
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const Routing chosen = routing(9);
    const Matrix x = rows(9, hidden, 1);
    const DispatchPlan before = dispatcher->plan(chosen, scope);
    const LentRows expected = dispatcher->start_dispatch(before, x).finish();
    PlanScope large = scope;
    large.row_bytes = std::size_t(1) << 45;
    for (int again = 0; again < 2; ++again) {
        const DispatchPlan plan = dispatcher->plan(chosen, large);
        EXPECT_TRUE(equal(dispatcher->start_dispatch(plan, x).finish(), expected));
        const LentRows outputs = dispatcher->lend_outputs(plan, hidden, DType::float64);
        EXPECT_EQ(outputs.view().rows(), expected.view().rows());
    }
    EXPECT_EQ(dispatcher->note().find("dispatcher window: window: "), 0u) << dispatcher->note();
    EXPECT_NE(dispatcher->note().find("; packed takes over"), std::string::npos) << dispatcher->note();
    // What was planned before goes on as planned.
    EXPECT_TRUE(equal(dispatcher->start_dispatch(before, x).finish(), expected));
    EXPECT_EQ(dispatcher->counters().rows_delivered, 4 * before.rows_delivered);
}

TEST_F(WindowDispatcherTest, MemoryAnnouncedByThePlanIsThereWhenRowsMove) {
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    PlanScope announced = scope;
    announced.row_bytes = 4096 * sizeof(double);
    const Routing chosen = routing(20);
    const DispatchPlan plan = dispatcher->plan(chosen, announced);
    const Matrix x = rows(20, 4096, 1);
    auto moving = dispatcher->start_dispatch(plan, x);
    while (!moving.progress()) {  // would wait for ever, could the pool not hold it
    }
    const LentRows moved = moving.finish();
    EXPECT_EQ(moved.view().rows(), plan.expert_offsets.back());
}

TEST_F(WindowDispatcherTest, MembersThatPlanOtherThingsAreNamed) {
    if (world.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const bool odd = world.rank() == 1;
    PlanScope other = scope;
    other.layer = odd ? 3 : 2;
    const std::string line = failure([&] { (void)dispatcher->plan(routing(4), other); });
    EXPECT_NE(line.find(odd ? "plan of layer 3: member 0 plans layer 2, top-2"
                            : "plan of layer 2: member 1 plans layer 3, top-2"),
              std::string::npos)
        << line;
}

TEST_F(WindowDispatcherTest, MembersThatMoveOtherRowsAreNamed) {
    if (world.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const Routing chosen = routing(4);
    const DispatchPlan plan = dispatcher->plan(chosen, scope);
    const Matrix x = rows(4, world.rank() == 1 ? 16 : 8, 1);
    const std::string line = failure([&] { (void)dispatcher->start_dispatch(plan, x).finish(); });
    const std::string expected = world.rank() == 1
                                     ? "window: rank 0 moves dispatch of layer 0, plan 1, rows of 8 float64"
                                     : "window: rank 1 moves dispatch of layer 0, plan 1, rows of 16 float64";
    EXPECT_NE(line.find(expected), std::string::npos) << line;
}

TEST_F(WindowDispatcherTest, AMemberThatDoesNotComeIsNamed) {
    if (world.size() == 1) GTEST_SKIP() << "one rank waits for nobody";
    const Communicator hasty(MPI_COMM_WORLD, {.timeout_seconds = 0.2, .on_stuck_call = {}});
    const auto dispatcher = make_dispatcher("window", "native", hasty, *device);
    const Routing chosen = routing(4);
    const int absent = world.size() - 1;
    if (world.rank() != absent) {
        const std::string line = failure([&] { (void)dispatcher->plan(chosen, scope); });
        EXPECT_NE(line.find("dispatch counts, layer 0"), std::string::npos) << line;
        EXPECT_NE(line.find(concat("for rank ", absent, " to count choices")), std::string::npos) << line;
    }
    world.barrier();
}

// It is gone without a finish, while the memory of the others may still be stored to.
TEST_F(WindowDispatcherTest, AMovementThatIsLetGoLeavesTheOthersInStep) {
    const auto dispatcher = make_dispatcher("window", "native", world, *device);
    const Routing chosen = routing(7);
    const DispatchPlan plan = dispatcher->plan(chosen, scope);
    const Matrix x = rows(7, hidden, 1), z = rows(7, hidden, 2);
    const LentRows expected = dispatcher->start_dispatch(plan, x).finish();
    for (int i = 0; i < 50; ++i) {
        if (i % 2 == world.rank() % 2)
            (void)dispatcher->start_dispatch(plan, z);
        else
            (void)dispatcher->start_dispatch(plan, z).finish();
        EXPECT_TRUE(equal(dispatcher->start_dispatch(plan, x).finish(), expected)) << i;
    }
}

}  // namespace
}  // namespace expar
