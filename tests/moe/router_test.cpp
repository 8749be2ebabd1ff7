#include "expar/moe/router.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "support/random_routing.hpp"

namespace expar {
namespace {

class Router : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_reference_device();

    Array<int> ints(std::vector<int> values) {
        Array<int> array(*device, values.size());
        std::ranges::copy(values, array.host().begin());
        return array;
    }
    static std::vector<int> list(const Array<int>& array) { return {array.host().begin(), array.host().end()}; }
    Matrix matrix(int rows, int cols, std::vector<double> values) {
        Matrix result(*device, DType::float64, rows, cols);
        for (int i = 0; i < rows * cols; ++i) result.view().row<double>(i / cols)[i % cols] = values[i];
        return result;
    }
};

TEST_F(Router, SelectsByDescendingLogitAndTheLowestIdOnTies) {
    const Matrix logits = matrix(2, 4, {1, 3, 3, 0, 5, 5, 5, 5});
    EXPECT_EQ(list(select(logits, 3, *device)), (std::vector{1, 2, 0, 0, 1, 2}));
}

// Softmax of log(1..4) is 1/10 … 4/10, so that every convention has a weight that can be checked by hand.
TEST_F(Router, WeighsAsEveryConventionSays) {
    const Matrix logits = matrix(1, 4, {std::log(1.), std::log(2.), std::log(3.), std::log(4.)});
    const auto weights = [&](RouterConvention convention, int k) {
        const Weighing weighing = weigh(convention, logits, select(logits, k, *device), k, *device);
        const auto row = weighing.weights.view().row<double>(0);
        return std::vector<double>(row.begin(), row.end());
    };
    const auto expect_near = [](const std::vector<double>& got, const std::vector<double>& expected) {
        for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(got[i], expected[i], 1e-15);
    };
    expect_near(weights(RouterConvention::softmax_renormalized, 2), {4. / 7, 3. / 7});
    expect_near(weights(RouterConvention::softmax, 2), {0.4, 0.3});
    expect_near(weights(RouterConvention::topk_softmax, 2), {4. / 7, 3. / 7});
    expect_near(weights(RouterConvention::top1_probability, 1), {0.4});
    expect_near(weights(RouterConvention::softmax_renormalized, 1), {1});
}

TEST_F(Router, FillsExpertsInTokenOrderBehindEarlierRanks) {
    const Array<int> experts = ints({0, 1, 0, 1, 0, -1, 1, 0});
    EXPECT_EQ(list(drop(experts, 2, std::vector{0, 0}, *device)), (std::vector{1, 1, 1, 1, 0, 0, 0, 0}));
    EXPECT_EQ(list(drop(experts, 2, std::vector{1, 5}, *device)), (std::vector{1, 0, 0, 0, 0, 0, 0, 0}));
    EXPECT_EQ(list(drop(experts, 0, std::vector{9, 9}, *device)), (std::vector{1, 1, 1, 1, 1, 0, 1, 1}));
}

TEST_F(Router, CapacityCountsEveryChoice) {
    EXPECT_EQ(capacity_of(1.25, 2, 100, 8), 32);  // ceil(31.25)
    EXPECT_EQ(capacity_of(0, 2, 100, 8), 0);
    EXPECT_EQ(capacity_of(1, 2, 0, 8), 0);
}

TEST_F(Router, DrawsTheSameNoiseForAGlobalTokenWhereverItIs) {
    Matrix all(*device, DType::float64, 6, 3), part(*device, DType::float64, 2, 3);
    all.zero(device->stream());
    part.zero(device->stream());
    perturb(all, 0.5, 1, {.seed = 3, .step = 2, .first_token = 10});
    perturb(part, 0.5, 1, {.seed = 3, .step = 2, .first_token = 13});
    EXPECT_TRUE(std::ranges::equal(all.view().row<double>(3), part.view().row<double>(0)));
    EXPECT_NE(all.view().row<double>(0)[0], 0);
}

}  // namespace
}  // namespace expar
