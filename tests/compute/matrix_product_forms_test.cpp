#include <gtest/gtest.h>
#include <unistd.h>

#include <limits>
#include <vector>

#include "expar/compute/matrix_product.hpp"
#include "support/devices.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

// Products on rows of bfloat16, with activations, and what is kept between calls.
class CpuProductFormsTest : public InstructionSetTest {};

Matrix rounded(Device& device, ConstRows from) {
    Matrix result(device, DType::bfloat16, from.rows(), from.cols());
    for (int r = 0; r < from.rows(); ++r)
        std::ranges::transform(from.row<float>(r), result.view().row<bfloat16>(r).begin(), to_bfloat16);
    return result;
}

Matrix widened(Device& device, ConstRows from) {
    Matrix result(device, DType::float32, from.rows(), from.cols());
    for (int r = 0; r < from.rows(); ++r)
        if (from.dtype() == DType::bfloat16)
            std::ranges::transform(from.row<bfloat16>(r), result.view().row<float>(r).begin(), to_float);
        else
            std::ranges::copy(from.row<float>(r), result.view().row<float>(r).begin());
    return result;
}

Matrix random_rows(Device& device, DType dtype, int rows, int cols, std::uint64_t seed) {
    Matrix matrix = random_matrix(device, DType::float32, rows, cols, seed);
    return dtype == DType::bfloat16 ? rounded(device, matrix) : std::move(matrix);
}

// Near: one rounding of the type it is stored in, and a little of the largest for the order of sums.
void expect_near(Device& device, ConstRows ours, ConstRows expected, double slack = 2e-6) {
    const Matrix wide = widened(device, ours);
    const double unit = ours.dtype() == DType::bfloat16 ? 1.0 / 256 : 2e-6;
    double largest = 0;
    for (int r = 0; r < expected.rows(); ++r)
        for (int c = 0; c < expected.cols(); ++c) largest = std::max(largest, std::abs(element(expected, r, c)));
    for (int r = 0; r < expected.rows(); ++r)
        for (int c = 0; c < expected.cols(); ++c) {
            const double wanted = element(expected, r, c);
            ASSERT_LE(std::abs(element(wide, r, c) - wanted), unit * std::abs(wanted) + slack * largest)
                << r << " " << c;
        }
}

struct Types {
    DType rows, weight, result;
};

// Against the reference, on float32 copies of the rounded rows and weights.
TEST_P(CpuProductFormsTest, MixesRowsWeightsAndResultsOfEitherType) {
    constexpr auto narrow = DType::bfloat16, wide = DType::float32;
    const auto cpu = make_cpu(2);
    const auto reference = make_reference_device();
    Stream& stream = reference->stream();
    for (const auto& [inputs, outputs] : {std::pair{64, 96}, {512, 130}, {33, 7}})
        for (const Types& types : {Types{narrow, narrow, narrow},
                                   {narrow, narrow, wide},
                                   {narrow, wide, wide},
                                   {wide, wide, narrow},
                                   {wide, wide, wide}})
            for (const Write write : {Write::assign, Write::add}) {
                const Matrix values = random_matrix(*cpu, wide, outputs, inputs, 1);
                const Matrix read =
                    types.weight == narrow ? widened(*cpu, rounded(*cpu, values)) : widened(*cpu, values);
                const auto weight = cpu->product().weight(values, types.weight);
                const auto plain = reference->product().weight(read, wide);

                const Matrix x = random_rows(*cpu, types.rows, 150, inputs, 2);
                Matrix y = random_rows(*cpu, types.result, 150, outputs, 3), expected_y = widened(*reference, y);
                cpu->product().forward(x, *weight, y, stream, write);
                reference->product().forward(widened(*reference, x), *plain, expected_y, stream, write);
                expect_near(*cpu, y, expected_y);

                const Matrix dy = random_rows(*cpu, types.rows, 150, outputs, 4);
                Matrix dx = random_rows(*cpu, types.result, 150, inputs, 5), expected_dx = widened(*reference, dx);
                cpu->product().input_gradient(dy, *weight, dx, stream, write);
                reference->product().input_gradient(widened(*reference, dy), *plain, expected_dx, stream, write);
                expect_near(*cpu, dx, expected_dx);

                const Matrix d_out = random_rows(*cpu, types.result, 150, outputs, 6);
                Matrix dw = random_matrix(*cpu, wide, outputs, inputs, 7), expected_dw = widened(*reference, dw);
                cpu->product().weight_gradient(d_out, x, dw, stream, write);
                reference->product().weight_gradient(widened(*reference, d_out), widened(*reference, x), expected_dw,
                                                     stream, write);
                expect_near(*cpu, dw, expected_dw);
            }
}

// The fused pair and what it was made of.
struct Activated {
    Matrix inner, activated, d_inner, again;
};

struct Expert {
    Activation activation;
    int hidden, width;
};

Activated activate(Device& device, const Expert& expert, ConstRows x, ConstRows dy) {
    const int columns = inner_columns(expert.activation) * expert.width;
    const Matrix up = random_matrix(device, DType::float32, columns, expert.hidden, 1, 0.1);
    const Matrix down = random_matrix(device, DType::float32, expert.hidden, expert.width, 2, 0.1);
    const auto up_weight = device.product().weight(up, x.dtype()),
               down_weight = device.product().weight(down, x.dtype());
    const std::vector<int> offsets = {0, x.rows() / 3, x.rows() / 3, x.rows()};
    const std::vector<Weight*> ups(3, up_weight.get()), downs(3, down_weight.get());
    const auto rows = [&](int cols) { return Matrix(device, x.dtype(), x.rows(), cols); };
    Activated result{rows(columns), rows(expert.width), rows(columns), rows(expert.width)};
    Stream& stream = device.stream();
    device.product().forward_activated({x, offsets, ups}, expert.activation, result.inner, result.activated, stream);
    for (int r = 0; r < x.rows(); ++r)
        std::memcpy(result.d_inner.view().slice(r, 1).data(), result.inner.view().slice(r, 1).data(),
                    result.inner.view().row_bytes());
    device.product().input_gradient_activated({dy, offsets, downs}, expert.activation, result.d_inner, result.again,
                                              stream);
    return result;
}

const std::vector<Expert> experts = {{Activation::swiglu, 64, 160},   {Activation::swiglu, 40, 70},
                                     {Activation::swiglu, 512, 32},   {Activation::gelu, 64, 100},
                                     {Activation::gelu_tanh, 64, 33}, {Activation::relu, 48, 96}};

TEST_P(CpuProductFormsTest, ActivatesAsTheOperationsApartWould) {
    const auto cpu = make_cpu(2);
    Stream& stream = cpu->stream();
    for (const Expert& expert : experts) {
        const Matrix x = random_matrix(*cpu, DType::float32, 301, expert.hidden, 3);
        const Matrix dy = random_matrix(*cpu, DType::float32, 301, expert.hidden, 4);
        const Activated fused = activate(*cpu, expert, x, dy);
        const int columns = fused.inner.cols();
        const Matrix up = random_matrix(*cpu, DType::float32, columns, expert.hidden, 1, 0.1);
        const Matrix down = random_matrix(*cpu, DType::float32, expert.hidden, expert.width, 2, 0.1);
        const auto rows = [&](int cols) { return Matrix(*cpu, DType::float32, x.rows(), cols); };
        Matrix inner = rows(columns), activated = rows(expert.width), d_activated = rows(expert.width);
        cpu->product().forward(x, *cpu->product().weight(up, DType::float32), inner, stream);
        cpu->activation().forward(expert.activation, inner, activated, stream);
        EXPECT_TRUE(same_bits(fused.inner, inner));
        EXPECT_TRUE(same_bits(fused.activated, activated));
        EXPECT_TRUE(same_bits(fused.again, activated));
        cpu->product().input_gradient(dy, *cpu->product().weight(down, DType::float32), d_activated, stream);
        cpu->activation().backward(expert.activation, inner, d_activated, inner, stream);
        EXPECT_LT(relative_error(fused.d_inner, inner), 2e-6);
    }
}

// The stored inner rows are what is activated: each step is rounded once.
TEST_P(CpuProductFormsTest, ActivatesRowsOfBfloat16AsTheyAreStored) {
    const auto cpu = make_cpu(2);
    for (const Expert& expert : experts) {
        if (expert.width % 32 != 0 && expert.activation == Activation::swiglu) continue;
        const Matrix x = random_rows(*cpu, DType::bfloat16, 150, expert.hidden, 3);
        const Matrix dy = random_rows(*cpu, DType::bfloat16, 150, expert.hidden, 4);
        const Activated fused = activate(*cpu, expert, x, dy);
        const Matrix inner = widened(*cpu, fused.inner);
        Matrix activated(*cpu, DType::float32, 150, expert.width), d_activated(*cpu, DType::float32, 150, expert.width),
            d_inner(*cpu, DType::float32, 150, inner.cols());
        cpu->activation().forward(expert.activation, inner, activated, cpu->stream());
        EXPECT_TRUE(same_bits(fused.activated, rounded(*cpu, activated)));
        EXPECT_TRUE(same_bits(fused.again, fused.activated));
        const Matrix down = random_matrix(*cpu, DType::float32, expert.hidden, expert.width, 2, 0.1);
        cpu->product().input_gradient(dy, *cpu->product().weight(down, DType::bfloat16), d_activated, cpu->stream());
        cpu->activation().backward(expert.activation, inner, d_activated, d_inner, cpu->stream());
        expect_near(*cpu, fused.d_inner, d_inner);
    }
}

TEST_P(CpuProductFormsTest, RowsAreIndependentInEveryForm) {
    const auto one = make_cpu(1), three = make_cpu(3);
    for (const DType dtype : {DType::float32, DType::bfloat16})
        for (const Expert& expert : {Expert{Activation::swiglu, 512, 160}, Expert{Activation::gelu, 72, 100}}) {
            const Matrix x = random_rows(*one, dtype, 700, expert.hidden, 3);
            const Matrix dy = random_rows(*one, dtype, 700, expert.hidden, 4);
            const Activated all = activate(*one, expert, x, dy);
            for (Device* device : {one.get(), three.get()})
                for (const auto& [first, count] : {std::pair{0, 700}, {0, 1}, {13, 64}, {100, 130}, {690, 10}}) {
                    const Activated part =
                        activate(*device, expert, x.view().slice(first, count), dy.view().slice(first, count));
                    EXPECT_TRUE(same_bits(part.inner, all.inner.view().slice(first, count)));
                    EXPECT_TRUE(same_bits(part.activated, all.activated.view().slice(first, count)));
                    EXPECT_TRUE(same_bits(part.d_inner, all.d_inner.view().slice(first, count)));
                }
        }
}

// What was there, if only no number, leaves no trace; a group of no rows ends as zeros.
TEST_P(CpuProductFormsTest, AssignedGradientsStartFromNothing) {
    const auto cpu = make_cpu(2);
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const std::vector<int> offsets = {0, 300, 300, 301};
        const Matrix x = random_rows(*cpu, dtype, 301, 70, 1), dy = random_rows(*cpu, dtype, 301, 600, 2);
        std::vector<Matrix> dw, zeros;
        for (std::size_t g = 0; g < 3; ++g) {
            dw.emplace_back(*cpu, DType::float32, 600, 70);
            for (int n = 0; n < 600; ++n)
                std::ranges::fill(dw[g].view().row<float>(n), std::numeric_limits<float>::quiet_NaN());
            zeros.push_back(zero_matrix(*cpu, DType::float32, 600, 70));
        }
        const std::vector<Rows> assigned(dw.begin(), dw.end()), added(zeros.begin(), zeros.end());
        cpu->product().weight_gradient(dy, x, offsets, assigned, Write::assign, cpu->stream());
        cpu->product().weight_gradient(dy, x, offsets, added, Write::add, cpu->stream());
        for (std::size_t g = 0; g < 3; ++g) EXPECT_TRUE(same_bits(dw[g], zeros[g])) << g;
    }
}

// So many gradients that they are written past the caches: columns of wider matrices, whose others stay ones. Those of
// 528 floats are whole lines of the cache.
TEST_P(CpuProductFormsTest, GradientsTooLargeForTheCachesAreThoseOfTheirGroupsAlone) {
    constexpr int outputs = 1100;
    const std::vector<int> rows = {1, 16, 17, 0, 33, 64, 128, 129};
    const auto cpu = make_cpu(2);
    const std::size_t cache = std::size_t(std::max(sysconf(_SC_LEVEL3_CACHE_SIZE), 32L << 20));
    const auto ones = [&](int columns) {
        Matrix matrix(*cpu, DType::float32, outputs, columns);
        for (int r = 0; r < outputs; ++r) std::ranges::fill(matrix.view().row<float>(r), 1.0F);
        return matrix;
    };
    for (const DType dtype : {DType::float32, DType::bfloat16})
        for (const auto& [width, inputs] : {std::pair{528, 528}, {528, 499}, {524, 524}}) {
            std::vector<int> offsets = {0};
            std::vector<Matrix> wide;
            std::vector<Rows> dw;
            for (std::size_t bytes = 0; bytes <= cache / 8 || wide.size() < rows.size(); bytes += dw.back().bytes()) {
                offsets.push_back(offsets.back() + (wide.size() < rows.size() ? rows[wide.size()] : 0));
                wide.push_back(ones(width));
                dw.push_back(wide.back().view().columns(0, inputs));
            }
            const Matrix x = random_rows(*cpu, dtype, offsets.back(), inputs, 1);
            const Matrix dy = random_rows(*cpu, dtype, offsets.back(), outputs, 2);
            cpu->product().weight_gradient(dy, x, offsets, dw, Write::assign, cpu->stream());
            for (std::size_t g = 0; g < dw.size(); ++g) {
                Matrix alone = ones(width);
                const int first = offsets[g], count = offsets[g + 1] - first;
                cpu->product().weight_gradient(dy.view().slice(first, count), x.view().slice(first, count),
                                               alone.view().columns(0, inputs), cpu->stream(), Write::assign);
                ASSERT_TRUE(same_bits(wide[g], alone)) << count << " rows of " << inputs;
            }
        }
}

TEST_P(CpuProductFormsTest, ReadsAWeightAnewOnceItHasChanged) {
    const auto cpu = make_cpu(2);
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        Matrix values = random_matrix(*cpu, DType::float32, 40, 50, 1);
        const auto weight = cpu->product().weight(values, dtype);
        const Matrix x = random_matrix(*cpu, dtype, 9, 50, 2), dy = random_matrix(*cpu, dtype, 9, 40, 3);
        Matrix y(*cpu, dtype, 9, 40), dx(*cpu, dtype, 9, 50);
        const auto multiply = [&] {
            cpu->product().forward(x, *weight, y, cpu->stream());
            cpu->product().input_gradient(dy, *weight, dx, cpu->stream());
        };
        multiply();
        EXPECT_FALSE(same_bits(y, zero_matrix(*cpu, dtype, 9, 40)));
        values.zero(cpu->stream());
        weight->changed();
        multiply();
        EXPECT_TRUE(same_bits(y, zero_matrix(*cpu, dtype, 9, 40)));
        EXPECT_TRUE(same_bits(dx, zero_matrix(*cpu, dtype, 9, 50)));
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuProductFormsTest, testing::ValuesIn(instruction_sets()),
                         instruction_set_name);

}  // namespace
}  // namespace expar
