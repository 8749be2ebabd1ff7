#include "expar/bench/oracle.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <tuple>

#include "expar/compute/cpu_device.hpp"
#include "expar/moe/dispatcher.hpp"

namespace expar {
namespace {

constexpr int hidden = 37;
constexpr int experts = 7;

/// What to break on the way, on rank 0.
struct Damage {
    void (*expert_rows)(Rows rows) = nullptr;
    void (*routing)(Routing& routing) = nullptr;  ///< as the dispatcher sees it
};

/// Wrong rows over all ranks.
struct Wrong {
    int expert_rows = 0, combined = 0, d_outputs = 0, d_weights_here = 0, d_x = 0, d_weights = 0;
    friend bool operator==(const Wrong&, const Wrong&) = default;
};

class OracleTest : public testing::TestWithParam<std::tuple<DType, CombineOrder>> {
protected:
    // Every member hosts expert 0 as well: which copy serves a token is part of what the oracle knows.
    Placement with_copies() const {
        const Placement once = shuffled_placement(1, experts, world.size(), 3);
        std::vector<std::vector<int>> slots;
        for (int member = 0; member < world.size(); ++member) {
            const auto here = once.experts_on(0, member);
            slots.emplace_back(here.begin(), here.end());
            if (std::ranges::count(here, 0) == 0) slots.back().push_back(0);
        }
        return Placement(experts, {slots});
    }

    Wrong run(const std::string& workload, const Damage& damage = {}) {
        const auto [dtype, order] = GetParam();
        const auto all = make_workload(workload, {world.size(), 23, experts, 3}, 1)->routings(0);
        const DispatchOracle oracle({all, &placement, 0}, world.rank(), order, {hidden, dtype},
                                    topology_of(world.size(), 2));
        std::int64_t first_token = 0;
        for (int r = 0; r < world.rank(); ++r) first_token += all[r].tokens;
        Routing routing = to_routing(all[world.rank()], *device, wide(dtype));
        if (damage.routing && world.rank() == 0) damage.routing(routing);

        const DispatchPlan plan = dispatcher->plan(routing, {&placement, 0, world.rank(), order, first_token});
        EXPECT_EQ(plan.expert_offsets.back(), oracle.expert_rows());
        Wrong wrong;
        Matrix x(*device, dtype, routing.tokens, hidden), d_y(*device, dtype, routing.tokens, hidden);
        oracle.fill_tokens(x);
        oracle.fill_output_gradients(d_y);
        const LentRows rows = dispatcher->start_dispatch(plan, x).finish();
        if (damage.expert_rows && world.rank() == 0) damage.expert_rows(rows);
        wrong.expert_rows = oracle.wrong_expert_rows(rows);
        const LentRows outputs = dispatcher->lend_outputs(plan, hidden, dtype);
        oracle.apply_experts(rows, outputs);
        const Matrix y = dispatcher->start_combine(plan, outputs, routing.weights).finish();
        wrong.combined = oracle.wrong_combined(y);
        const CombineGradient back = dispatcher->start_combine_backward(plan, d_y, outputs).finish();
        wrong.d_outputs = oracle.wrong_d_outputs(back.d_outputs);
        wrong.d_weights_here = oracle.wrong_d_weights_here(back.d_weights);
        Matrix d_rows(*device, dtype, oracle.expert_rows(), hidden);
        oracle.apply_experts_backward(back.d_outputs, d_rows);
        const DispatchGradient gradient = dispatcher->start_dispatch_backward(plan, d_rows, back.d_weights).finish();
        wrong.d_x = oracle.wrong_d_x(gradient.d_x);
        wrong.d_weights = oracle.wrong_d_weights(gradient.d_weights);
        std::array counts = {wrong.expert_rows,    wrong.combined, wrong.d_outputs,
                             wrong.d_weights_here, wrong.d_x,      wrong.d_weights};
        world.sum(std::span<int>(counts));
        return {counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
    }

    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device =
        std::get<0>(GetParam()) == DType::float64 ? make_reference_device() : make_cpu_device(1);
    Placement placement = with_copies();
    std::unique_ptr<Dispatcher> dispatcher = make_packed_dispatcher("native:ranks-per-node=2", world, *device);
};

TEST_P(OracleTest, FindsNothingWrongWithWhatIsRight) {
    for (const char* workload : {"uniform", "hot-expert:1", "ragged", "correlated:3"})
        EXPECT_EQ(run(workload), Wrong{}) << workload;
}

TEST_P(OracleTest, OneFlippedBitOfARowIsOneWrongRowThereAndOneAtItsToken) {
    const Wrong wrong =
        run("uniform", {.expert_rows = [](Rows rows) {
                static_cast<std::byte*>(
                    rows.slice(rows.rows() - 1, 1).columns(hidden - 1, 1).data())[size_of(rows.dtype()) - 1] ^=
                    std::byte{0x80};
            }});
    EXPECT_EQ(wrong, (Wrong{.expert_rows = 1, .combined = 1, .d_weights_here = 1, .d_weights = 1}));
}

TEST_P(OracleTest, OneWrongWeightIsOneWrongTokenAndOneWrongGradient) {
    const Wrong wrong = run("uniform", {.routing = [](Routing& routing) {
                                with_real(routing.weights.dtype(), [&]<class Real>(Real) {
                                    routing.weights.view().row<Real>(5)[1] += Real(0.0625);
                                });
                            }});
    EXPECT_EQ(wrong, (Wrong{.combined = 1, .d_outputs = 1, .d_x = 1}));
}

// The rows of two tokens of one expert change places: both are wrong, though each is a row that someone wanted.
TEST_P(OracleTest, RowsThatChangedPlacesAreBothWrong) {
    const Wrong wrong = run("uniform", {.expert_rows = [](Rows rows) {
                                auto* first = static_cast<std::byte*>(rows.data());
                                std::swap_ranges(first, first + rows.row_bytes(), first + rows.row_bytes());
                            }});
    EXPECT_EQ(wrong.expert_rows, 2);
    EXPECT_EQ(wrong.combined, 2);
}

// Every member has copies of both experts, and the r-th token of all, that of rank r, is served by the r-th of them.
TEST_P(OracleTest, AnotherExpertsTransformIsSeen) {
    const auto [dtype, order] = GetParam();
    std::vector<RankRouting> all(world.size(), RankRouting{1, 1, {0}, {1}});
    const Placement two(2, {std::vector(world.size(), std::vector{0, 1})});
    const DispatchOracle asked({all, &two, 0}, world.rank(), order, {hidden, dtype});
    for (auto& rank : all) rank.experts[0] = 1;
    const DispatchOracle done({all, &two, 0}, world.rank(), order, {hidden, dtype});
    ASSERT_EQ(asked.expert_rows(), 1);
    Matrix x(*device, dtype, 1, hidden), y(*device, dtype, 1, hidden);
    asked.fill_tokens(x);
    done.apply_experts(x, y);
    EXPECT_EQ(done.wrong_combined(y), 0);
    EXPECT_EQ(asked.wrong_combined(y), 1);
}

TEST_P(OracleTest, TooFewRowsAreAllWrong) {
    const auto [dtype, order] = GetParam();
    const std::vector<RankRouting> all(world.size(), RankRouting{2, 1, {0, 0}, {1, 1}});
    const DispatchOracle oracle({all, &placement, 0}, world.rank(), order, {hidden, dtype});
    const Matrix short_one(*device, dtype, 1, hidden), narrow(*device, dtype, 2, hidden - 1);
    EXPECT_EQ(oracle.wrong_combined(short_one), 2);
    EXPECT_EQ(oracle.wrong_combined(narrow), 2);
    EXPECT_EQ(oracle.wrong_combined(Matrix(*device, DType::int32, 2, hidden)), 2);
}

INSTANTIATE_TEST_SUITE_P(
    All, OracleTest,
    testing::Combine(testing::Values(DType::bfloat16, DType::float32, DType::float64),
                     testing::Values(CombineOrder::exact, CombineOrder::reduced, CombineOrder::node_reduced)),
    [](const auto& test) { return concat(name_of(std::get<0>(test.param)), "_", name_of(std::get<1>(test.param))); });

}  // namespace
}  // namespace expar
