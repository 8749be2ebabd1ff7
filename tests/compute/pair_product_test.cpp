// The products of kernels/cpu/pair_product.cpp, through the device: rows of bfloat16 where the processor multiplies
// them.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "expar/base/random.hpp"
#include "expar/compute/matrix_product.hpp"
#include "support/devices.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

double value(ConstRows rows, int r, int c) {
    return rows.dtype() == DType::bfloat16 ? to_float(rows.row<bfloat16>(r)[c]) : rows.row<float>(r)[c];
}
double rounded(double x) {
    return to_float(to_bfloat16(float(x)));
}

Matrix random_of(Device& device, DType dtype, int rows, int cols, std::uint64_t seed) {
    Matrix wide = random_matrix(device, DType::float32, rows, cols, seed);
    if (dtype == DType::float32) return wide;
    Matrix narrow(device, dtype, rows, cols);
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < cols; ++c) narrow.view().row<bfloat16>(r)[c] = to_bfloat16(wide.view().row<float>(r)[c]);
    return narrow;
}

// A matrix as the products read it: in bfloat16.
struct Values {
    int rows, cols;
    std::vector<double> all;

    explicit Values(ConstRows from) : rows(from.rows()), cols(from.cols()) {
        for (int r = 0; r < rows; ++r)
            for (int c = 0; c < cols; ++c) all.push_back(rounded(value(from, r, c)));
    }
    [[nodiscard]] double at(int r, int c) const { return all[std::size_t(r) * cols + c]; }
};

// Whether `rows` are what expected(row, column) says, to the rounding of their type and that of a float32 sum.
template <class Expected>
void expect_values(ConstRows rows, Expected expected, double scale) {
    const double relative = rows.dtype() == DType::bfloat16 ? 0x1p-8 : 0;
    for (int r = 0; r < rows.rows(); ++r)
        for (int c = 0; c < rows.cols(); ++c) {
            const double right = expected(r, c);
            ASSERT_NEAR(value(rows, r, c), right, relative * std::abs(right) + 1e-6 * scale) << r << ", " << c;
        }
}

struct Shape {
    std::vector<int> offsets;
    int inputs, outputs;
};

std::vector<Shape> shapes() {
    std::vector<Shape> result;
    const std::vector<std::vector<int>> groups = {{0, 0}, {0, 1}, {0, 0, 70}, {0, 5, 5, 69, 180}};
    for (const auto& offsets : groups)
        for (const auto& [inputs, outputs] : {std::pair{1, 1}, {3, 5}, {32, 64}, {48, 33}, {257, 64}, {130, 96}})
            result.push_back({offsets, inputs, outputs});
    return result;
}

// Weights [outputs, inputs] in float32, as masters are, and the products' reading of them.
struct Weights {
    std::vector<Matrix> masters;
    std::vector<Values> values;
    std::vector<std::unique_ptr<Weight>> readings;
    std::vector<Weight*> list;

    Weights(Device& device, const Shape& shape) {
        for (std::size_t g = 0; g + 1 < shape.offsets.size(); ++g) {
            masters.push_back(random_of(device, DType::float32, shape.outputs, shape.inputs, 10 + g));
            values.emplace_back(masters.back());
            readings.push_back(device.product().weight(masters.back(), DType::bfloat16));
            list.push_back(readings.back().get());
        }
    }
};

std::size_t group_of(const Shape& shape, int row) {
    std::size_t group = 0;
    while (shape.offsets[group + 1] <= row) ++group;
    return group;
}

class PairProductTest : public InstructionSetTest {
protected:
    void SetUp() override {
        if (GetParam() < InstructionSet::avx512_bf16) GTEST_SKIP() << "no instruction multiplies bfloat16";
    }
};

void expect_rows_times_weights(Device& device, const Shape& shape, DType in, DType out, Write write) {
    Weights weights(device, shape);
    const int rows = shape.offsets.back();
    const Matrix x = random_of(device, in, rows, shape.inputs, 1), dy = random_of(device, in, rows, shape.outputs, 2);
    const Matrix y_before = random_of(device, out, rows, shape.outputs, 3);
    const Matrix dx_before = random_of(device, out, rows, shape.inputs, 4);
    Matrix y = random_of(device, out, rows, shape.outputs, 3), dx = random_of(device, out, rows, shape.inputs, 4);
    device.product().forward({x, shape.offsets, weights.list}, y, write, device.stream());
    device.product().input_gradient({dy, shape.offsets, weights.list}, dx, write, device.stream());
    const Values x_values(x), dy_values(dy);
    const auto before = [&](const Matrix& old, int r, int c) { return write == Write::add ? value(old, r, c) : 0; };
    const auto expected_y = [&](int r, int n) {
        const Values& w = weights.values[group_of(shape, r)];
        double sum = before(y_before, r, n);
        for (int k = 0; k < shape.inputs; ++k) sum += x_values.at(r, k) * w.at(n, k);
        return sum;
    };
    const auto expected_dx = [&](int r, int k) {
        const Values& w = weights.values[group_of(shape, r)];
        double sum = before(dx_before, r, k);
        for (int n = 0; n < shape.outputs; ++n) sum += dy_values.at(r, n) * w.at(n, k);
        return sum;
    };
    expect_values(y, expected_y, shape.inputs);
    expect_values(dx, expected_dx, shape.outputs);
}

TEST_P(PairProductTest, RowsTimesWeights) {
    const auto device = make_cpu(2);
    for (const Shape& shape : shapes())
        for (const Write write : {Write::assign, Write::add}) {
            expect_rows_times_weights(*device, shape, DType::bfloat16, DType::bfloat16, write);
            expect_rows_times_weights(*device, shape, DType::float32, DType::float32, write);
            if (HasFatalFailure()) return;
        }
}

TEST_P(PairProductTest, GradientsOfWeights) {
    const auto device = make_cpu(2);
    for (const Shape& shape : shapes())
        for (const Write write : {Write::assign, Write::add}) {
            const int rows = shape.offsets.back();
            const Matrix x = random_of(*device, DType::bfloat16, rows, shape.inputs, 1);
            const Matrix dy = random_of(*device, DType::bfloat16, rows, shape.outputs, 2);
            std::vector<Matrix> dw;
            for (std::size_t g = 0; g + 1 < shape.offsets.size(); ++g)
                dw.push_back(random_of(*device, DType::float32, shape.outputs, shape.inputs, 3));
            const Matrix before = random_of(*device, DType::float32, shape.outputs, shape.inputs, 3);
            const Values x_values(x), dy_values(dy);
            device->product().weight_gradient(dy, x, shape.offsets, std::vector<Rows>(dw.begin(), dw.end()), write,
                                              device->stream());
            for (std::size_t g = 0; g < dw.size(); ++g)
                expect_values(
                    dw[g],
                    [&](int n, int k) {
                        double sum = write == Write::add ? value(before, n, k) : 0;
                        for (int r = shape.offsets[g]; r < shape.offsets[g + 1]; ++r)
                            sum += dy_values.at(r, n) * x_values.at(r, k);
                        return sum;
                    },
                    rows);
            if (HasFatalFailure()) return;
        }
}

double silu(double x) {
    return x / (1 + std::exp(-x));
}
double silu_slope(double x) {
    const double s = 1 / (1 + std::exp(-x));
    return s + x * s * (1 - s);
}

// SwiGLU of two products there, and back through the second map of an expert. Small weights keep values in bounds.
TEST_P(PairProductTest, CarryAnActivationInTheirResults) {
    const auto device = make_cpu(2);
    for (const int width : {5, 32, 96, 130})
        for (const auto& offsets : std::vector<std::vector<int>>{{0, 0}, {0, 1, 40}, {0, 150}}) {
            const Shape up{offsets, 64, 2 * width}, down{offsets, width, 48};
            Weights up_weights(*device, up), down_weights(*device, down);
            const int rows = offsets.back();
            const Matrix x = random_of(*device, DType::bfloat16, rows, up.inputs, 1);
            const Matrix dy = random_of(*device, DType::bfloat16, rows, down.outputs, 2);
            Matrix inner(*device, DType::bfloat16, rows, 2 * width), plain(*device, DType::bfloat16, rows, 2 * width);
            const Values dy_values(dy);
            Matrix activated(*device, DType::bfloat16, rows, width), again(*device, DType::bfloat16, rows, width);
            device->product().forward({x, offsets, up_weights.list}, plain, Write::assign, device->stream());
            device->product().forward_activated({x, offsets, up_weights.list}, Activation::swiglu, inner, activated,
                                                device->stream());
            EXPECT_TRUE(same_bits(inner, plain));
            expect_values(
                activated, [&](int r, int i) { return silu(value(plain, r, i)) * value(plain, r, width + i); }, 10);
            device->product().input_gradient_activated({dy, offsets, down_weights.list}, Activation::swiglu, inner,
                                                       again, device->stream());
            EXPECT_TRUE(same_bits(again, activated));
            expect_values(
                inner,
                [&](int r, int column) {
                    const int i = column % width;
                    double d = 0;
                    for (int n = 0; n < down.outputs; ++n)
                        d += dy_values.at(r, n) * down_weights.values[group_of(down, r)].at(n, i);
                    const double gate = value(plain, r, i), up_value = value(plain, r, width + i);
                    return column < width ? d * up_value * silu_slope(gate) : d * silu(gate);
                },
                1000);
            if (HasFatalFailure()) return;
        }
}

TEST_P(PairProductTest, RowsAreIndependentOfTheirNumberAndOfThreads) {
    const auto one = make_cpu(1), two = make_cpu(2);
    for (const auto& [inputs, outputs] : {std::pair{256, 512}, {33, 70}, {1100, 64}}) {
        const Shape shape{{0, 500}, inputs, outputs};
        Weights weights(*one, shape), others(*two, shape);
        const Matrix x = random_of(*one, DType::bfloat16, 500, inputs, 1);
        Matrix expected(*one, DType::bfloat16, 500, outputs);
        one->product().forward(x, *weights.list.front(), expected, one->stream());
        for (Device* device : {one.get(), two.get()})
            for (const int first : {0, 1, 100, 437})
                for (const int rows : {1, 7, 31, 63, 64, 65, 500}) {
                    const int count = std::min(rows, 500 - first);
                    Matrix y(*device, DType::bfloat16, count, outputs);
                    Weight& weight = device == one.get() ? *weights.list.front() : *others.list.front();
                    device->product().forward(x.view().slice(first, count), weight, y, device->stream());
                    EXPECT_TRUE(same_bits(y, expected.view().slice(first, count))) << first << " " << rows;
                }
    }
}

// Two calls on 128 and 1072 rows add what one call on 1200 adds.
TEST_P(PairProductTest, GradientsOfWeightsAddBlocksInOrder) {
    const auto device = make_cpu(2), alone = make_cpu(1);
    const Matrix x = random_of(*device, DType::bfloat16, 1200, 96, 1);
    const Matrix dy = random_of(*device, DType::bfloat16, 1200, 80, 2);
    Matrix at_once(*device, DType::float32, 80, 96), in_parts(*device, DType::float32, 80, 96);
    device->product().weight_gradient(dy, x, at_once, device->stream(), Write::assign);
    for (const auto& [first, count] : {std::pair{0, 128}, {128, 1072}})
        alone->product().weight_gradient(dy.view().slice(first, count), x.view().slice(first, count), in_parts,
                                         alone->stream(), first == 0 ? Write::assign : Write::add);
    EXPECT_TRUE(same_bits(at_once, in_parts));
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, PairProductTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

}  // namespace
}  // namespace expar
