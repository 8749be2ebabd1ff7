#include "expar/compute/rows.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

// A stack of 5 and `second` rows, and an index into it with repetitions and rows that do not exist.
struct Inputs {
    Matrix above, below;
    std::vector<int> index;

    Inputs(Device& device, DType dtype, int rows, int cols, int second)
        : above(random_matrix(device, dtype, 5, cols, 1)), below(random_matrix(device, dtype, second, cols, 2)) {
        const RandomField field(3, Purpose::test);
        for (int i = 0; i < rows; ++i)
            index.push_back(int(field.below(std::uint64_t(6 + second), std::uint64_t(i))) - 1);
    }
    [[nodiscard]] Stacked stack() const { return {above, below}; }
};

// All results of one device; `k` indices for every row of the weighted sum.
struct Results {
    Matrix gathered, scaled, summed, counted, dots, scattered, added, gated, d_in, d_logit;
};

Results run(Device& device, DType dtype, int rows, int cols, int k) {
    const Inputs in(device, dtype, rows * k, cols, 7);
    const std::span<const int> index(in.index);
    const auto single = index.first(std::size_t(rows));
    const Matrix weights = random_matrix(device, dtype, rows, k, 4);
    const Matrix weight = random_matrix(device, dtype, rows, 1, 5);
    const Matrix x = random_matrix(device, dtype, rows, cols, 6);
    const Matrix gradient = random_matrix(device, dtype, rows, cols, 7);
    const auto make = [&](int width, std::uint64_t seed) { return random_matrix(device, dtype, rows, width, seed); };
    Results out{make(cols, 8),  make(cols, 9),  make(cols, 10),
                make(cols, 11), make(1, 12),    random_matrix(device, dtype, 12, cols, 13),
                make(cols, 14), make(cols, 15), make(cols, 16),
                make(1, 17)};
    const RowOperations& operations = device.rows();
    Stream& stream = device.stream();
    operations.gather(in.stack(), single, out.gathered, stream);
    operations.scaled_gather(in.stack(), single, weight, out.scaled, stream);
    operations.weighted_sum(in.stack(), index, weights, out.summed, stream);
    operations.weighted_sum(in.stack(), index, ConstRows(nullptr, 0, k, dtype), out.counted, stream);
    operations.dot(x, in.stack(), single, out.dots, stream);
    operations.scatter_add(x, single, out.scattered, stream);
    operations.add(x, out.added, stream);
    operations.sigmoid_gate(x, weight, out.gated, Write::assign, stream);
    operations.sigmoid_gate(x, weight, out.gated, Write::add, stream);
    operations.sigmoid_gate_backward(x, weight, gradient, out.d_in, out.d_logit, stream);
    return out;
}

class CpuRowsTest : public InstructionSetTest {};

TEST_P(CpuRowsTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const int rows : {0, 1, 63, 64, 65, 700})
            for (const int cols : {1, 5, 16, 33, 257})
                for (const int k : {1, 2, 3}) {
                    const Results ours = run(*cpu, DType::float32, rows, cols, k);
                    const Results expected = run(*reference, DType::float32, rows, cols, k);
                    EXPECT_TRUE(same_bits(ours.gathered, expected.gathered));
                    EXPECT_TRUE(same_bits(ours.scaled, expected.scaled));
                    EXPECT_TRUE(same_bits(ours.summed, expected.summed));
                    EXPECT_TRUE(same_bits(ours.counted, expected.counted));
                    EXPECT_TRUE(same_bits(ours.scattered, expected.scattered));
                    EXPECT_TRUE(same_bits(ours.added, expected.added));
                    EXPECT_LT(relative_error(ours.dots, expected.dots), 1e-6);
                    EXPECT_LT(relative_error(ours.gated, expected.gated), 1e-6);
                    EXPECT_LT(relative_error(ours.d_in, expected.d_in), 1e-6);
                    EXPECT_LT(relative_error(ours.d_logit, expected.d_logit), 1e-6);
                }
    }
}

class RowsTest : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Device> device = make_device_named(GetParam(), 2);
    Stream& stream = device->stream();
};

TEST_P(RowsTest, MissingRowsAreZeroAndCountNowhere) {
    const Matrix x = random_matrix(*device, DType::float32, 2, 20, 1);
    const Matrix weights = random_matrix(*device, DType::float32, 2, 2, 2);
    const Matrix zeros = zero_matrix(*device, DType::float32, 2, 20);
    Matrix out = random_matrix(*device, DType::float32, 2, 20, 3);
    const std::vector<int> none = {-1, -1, -1, -1};
    const auto single = std::span(none).first(2);
    device->rows().gather(ConstRows(x), single, out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    device->rows().scaled_gather(ConstRows(x), single, weights.view().columns(0, 1), out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    device->rows().weighted_sum(ConstRows(x), none, weights, out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    device->rows().scatter_add(x, single, out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    Matrix dots = random_matrix(*device, DType::float32, 2, 1, 4);
    device->rows().dot(x, ConstRows(x), single, dots, stream);
    EXPECT_EQ(element(dots, 0, 0), 0);
}

// One row of a sum, however many rows are beside it, has the bits of fma by hand.
TEST_P(RowsTest, WeightedSumIsAChainOfFmaInOrder) {
    const Matrix x = random_matrix(*device, DType::float32, 3, 37, 1);
    const Matrix weights = random_matrix(*device, DType::float32, 1, 3, 2);
    Matrix out(*device, DType::float32, 1, 37);
    device->rows().weighted_sum(ConstRows(x), std::array{2, -1, 0}, weights, out, stream);
    const auto w = weights.view().row<float>(0);
    for (int c = 0; c < 37; ++c) {
        const float first = std::fma(w[0], x.view().row<float>(2)[c], 0.0F);
        EXPECT_EQ(out.view().row<float>(0)[c], std::fma(w[2], x.view().row<float>(0)[c], first));
    }
}

TEST_P(RowsTest, DotsDoNotDependOnTheRowsBeside) {
    const Matrix a = random_matrix(*device, DType::float32, 300, 129, 1);
    std::vector<int> index(300);
    for (int i = 0; i < 300; ++i) index[i] = 299 - i;
    Matrix all(*device, DType::float32, 300, 1), one(*device, DType::float32, 1, 1);
    device->rows().dot(a, ConstRows(a), index, all, stream);
    for (const int i : {0, 7, 64, 299}) {
        device->rows().dot(a.view().slice(i, 1), ConstRows(a), std::array{index[i]}, one, stream);
        EXPECT_EQ(element(one, 0, 0), element(all, i, 0));
    }
}

TEST(Rows, SigmoidGateHasTheGradientOfItsValue) {
    const auto device = make_reference_device();
    Stream& stream = device->stream();
    const DType dtype = DType::float64;
    Matrix x = random_matrix(*device, dtype, 4, 6, 1), logit = random_matrix(*device, dtype, 4, 1, 2);
    const Matrix d_out = random_matrix(*device, dtype, 4, 6, 3);
    Matrix out(*device, dtype, 4, 6), d_in(*device, dtype, 4, 6), d_logit(*device, dtype, 4, 1);
    const auto objective = [&] {
        device->rows().sigmoid_gate(x, logit, out, Write::assign, stream);
        return inner_product(out, d_out);
    };
    device->rows().sigmoid_gate_backward(x, logit, d_out, d_in, d_logit, stream);
    EXPECT_LT(gradient_error(x, d_in, objective), 1e-8);
    EXPECT_LT(gradient_error(logit, d_logit, objective), 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Devices, RowsTest, testing::ValuesIn(device_names()));

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuRowsTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

}  // namespace
}  // namespace expar
