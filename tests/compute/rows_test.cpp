#include "expar/compute/rows.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
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
    Matrix gathered, d_terms, summed, counted, dots, scattered, added, gated, d_in, d_logit;
    Matrix widened, rounded, into_real;  // between the dtype and its wide one
};

Results run(Device& device, DType dtype, int rows, int cols, int k) {
    const Inputs in(device, dtype, rows * k, cols, 7);
    const std::span<const int> index(in.index);
    const auto single = index.first(std::size_t(rows));
    const DType real = wide(dtype);
    const Matrix weights = random_matrix(device, real, rows, k, 4);
    const Matrix weight = random_matrix(device, real, rows, 1, 5);
    const Matrix x = random_matrix(device, dtype, rows, cols, 6);
    const Matrix gradient = random_matrix(device, dtype, rows, cols, 7);
    const Matrix masters = random_matrix(device, real, 12, cols, 18);
    const auto make = [&](int width, std::uint64_t seed) { return random_matrix(device, dtype, rows, width, seed); };
    const auto make_real = [&](int width, std::uint64_t seed) {
        return random_matrix(device, real, rows, width, seed);
    };
    Results out{make(cols, 8),
                make(cols, 9),
                make(cols, 10),
                make(cols, 11),
                make_real(1, 12),
                random_matrix(device, dtype, 12, cols, 13),
                make(cols, 14),
                make(cols, 15),
                make(cols, 16),
                make_real(1, 17),
                make_real(cols, 19),
                make(cols, 20),
                random_matrix(device, real, 12, cols, 21)};
    const RowOperations& operations = device.rows();
    Stream& stream = device.stream();
    operations.gather(in.stack(), single, out.gathered, Stores::past_caches, stream);
    operations.gather(in.stack(), single, out.widened, stream);
    operations.gather(ConstRows(masters), single, out.rounded, stream);
    operations.scatter_add(x, single, out.into_real, stream);
    operations.weighted_sum_backward(in.stack(), single, {x, weight}, out.d_terms, out.dots, stream);
    operations.weighted_sum(in.stack(), index, weights, out.summed, stream);
    operations.weighted_sum(in.stack(), index, ConstRows(nullptr, 0, k, real), out.counted, stream);
    operations.scatter_add(x, single, out.scattered, stream);
    operations.add(x, out.added, stream);
    operations.sigmoid_gate(x, weight, out.gated, Write::assign, stream);
    operations.sigmoid_gate(x, weight, out.gated, Write::add, stream);
    operations.sigmoid_gate_backward(x, weight, gradient, out.d_in, out.d_logit, stream);
    return out;
}

class CpuRowsTest : public InstructionSetTest {};

void expect_equal(const Results& ours, const Results& expected, DType dtype) {
    EXPECT_TRUE(same_bits(ours.gathered, expected.gathered));
    EXPECT_TRUE(same_bits(ours.widened, expected.widened));
    EXPECT_TRUE(same_bits(ours.rounded, expected.rounded));
    EXPECT_TRUE(same_bits(ours.d_terms, expected.d_terms));
    EXPECT_TRUE(same_bits(ours.summed, expected.summed));
    EXPECT_TRUE(same_bits(ours.counted, expected.counted));
    EXPECT_TRUE(same_bits(ours.scattered, expected.scattered));
    EXPECT_TRUE(same_bits(ours.into_real, expected.into_real));
    EXPECT_TRUE(same_bits(ours.added, expected.added));
    EXPECT_LT(relative_error(ours.dots, expected.dots), 1e-6);
    EXPECT_LT(relative_error(ours.gated, expected.gated), row_tolerance(dtype, 1e-6));
    EXPECT_LT(relative_error(ours.d_in, expected.d_in), row_tolerance(dtype, 1e-6));
    EXPECT_LT(relative_error(ours.d_logit, expected.d_logit), 1e-6);
}

TEST_P(CpuRowsTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const DType dtype : {DType::float32, DType::bfloat16})
            for (const int rows : {0, 1, 63, 64, 65, 700})
                for (const int cols : {1, 5, 16, 33, 257})
                    for (const int k : rows < 700 ? std::vector{1, 2, 3} : std::vector{2})
                        expect_equal(run(*cpu, dtype, rows, cols, k), run(*reference, dtype, rows, cols, k), dtype);
    }
}

// Every float32 that has something special about its rounding, and infinities and what is not a number.
TEST_P(CpuRowsTest, RoundsToBfloat16AsTheScalarDoes) {
    const auto cpu = make_cpu(1);
    std::vector<std::uint32_t> patterns;
    for (const std::uint32_t upper : {0U, 1U, 2U, 0x3f80U, 0x3f81U, 0x7f7fU, 0x7f80U, 0x7fc0U})
        for (const std::uint32_t lower : {0U, 1U, 0x7fffU, 0x8000U, 0x8001U, 0xffffU})
            for (const std::uint32_t sign : {0U, 0x80000000U}) patterns.push_back(sign | upper << 16 | lower);
    Matrix in(*cpu, DType::float32, 1, int(patterns.size())), out(*cpu, DType::bfloat16, 1, int(patterns.size()));
    std::ranges::transform(patterns, in.view().row<float>(0).begin(), std::bit_cast<float, std::uint32_t>);
    cpu->rows().gather(ConstRows(in), std::array{0}, out, cpu->stream());
    for (std::size_t i = 0; i < patterns.size(); ++i)
        EXPECT_EQ(out.view().row<bfloat16>(0)[i].bits, to_bfloat16(std::bit_cast<float>(patterns[i])).bits)
            << patterns[i];
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
    device->rows().weighted_sum(ConstRows(x), none, weights, out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    device->rows().scatter_add(x, single, out, stream);
    EXPECT_TRUE(same_bits(out, zeros));
    Matrix dots = random_matrix(*device, DType::float32, 2, 1, 4);
    out = random_matrix(*device, DType::float32, 2, 20, 3);
    device->rows().weighted_sum_backward(ConstRows(x), single, {x, weights.view().columns(0, 1)}, out, dots, stream);
    EXPECT_TRUE(same_bits(out, zeros));
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

// The gradient of Σ_i sums[i] · d_sums[i], where each term is in one sum.
TEST(Rows, WeightedSumHasTheGradientOfItsValue) {
    const auto device = make_reference_device();
    Stream& stream = device->stream();
    const DType dtype = DType::float64;
    Matrix x = random_matrix(*device, dtype, 4, 6, 1), weights = random_matrix(*device, dtype, 4, 1, 2);
    const Matrix d_sums = random_matrix(*device, dtype, 2, 6, 3);
    Matrix sums(*device, dtype, 2, 6), d_x(*device, dtype, 4, 6), d_weights(*device, dtype, 4, 1);
    const auto objective = [&] {
        const ConstRows by_sum(weights.view().data(), 2, 2, dtype);
        device->rows().weighted_sum(ConstRows(x), std::array{0, 1, 2, 3}, by_sum, sums, stream);
        return inner_product(sums, d_sums);
    };
    device->rows().weighted_sum_backward(ConstRows(d_sums), std::array{0, 0, 1, 1}, {x, weights}, d_x, d_weights,
                                         stream);
    EXPECT_LT(gradient_error(x, d_x, objective), 1e-8);
    EXPECT_LT(gradient_error(weights, d_weights, objective), 1e-8);
}

TEST_P(RowsTest, DotsDoNotDependOnTheRowsBeside) {
    const Matrix a = random_matrix(*device, DType::float32, 300, 129, 1);
    const Matrix weights = random_matrix(*device, DType::float32, 300, 1, 2);
    std::vector<int> index(300);
    for (int i = 0; i < 300; ++i) index[i] = 299 - i;
    Matrix rows(*device, DType::float32, 300, 129), all(*device, DType::float32, 300, 1);
    Matrix one_row(*device, DType::float32, 1, 129), one(*device, DType::float32, 1, 1);
    device->rows().weighted_sum_backward(ConstRows(a), index, {a, weights}, rows, all, stream);
    for (const int i : {0, 7, 64, 299}) {
        device->rows().weighted_sum_backward(ConstRows(a), std::array{index[i]},
                                             {a.view().slice(i, 1), weights.view().slice(i, 1)}, one_row, one, stream);
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
