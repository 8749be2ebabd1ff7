#include "expar/compute/matrix_product.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/devices.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

// Groups of one call with weights [outputs, inputs] each, and the three results on one device.
struct Problem {
    std::vector<int> offsets;
    int inputs = 0;
    int outputs = 0;
};

struct Results {
    Matrix y, dx;
    std::vector<Matrix> dw;
};

template <class View>
std::vector<View> views_of(std::vector<Matrix>& matrices) {
    return {matrices.begin(), matrices.end()};
}

// The weights of a call, and what a call takes of them.
struct Weights {
    std::vector<std::unique_ptr<Weight>> owned;
    std::vector<Weight*> pointers;

    Weights(Device& device, const std::vector<Matrix>& values) {
        for (const Matrix& matrix : values) {
            owned.push_back(device.product().weight(matrix, matrix.dtype()));
            pointers.push_back(owned.back().get());
        }
    }
};

Results multiply(Device& device, const Problem& problem, Write write = Write::assign) {
    const int rows = problem.offsets.back();
    const std::size_t groups = problem.offsets.size() - 1;
    const DType dtype = DType::float32;
    const Matrix x = random_matrix(device, dtype, rows, problem.inputs, 1);
    const Matrix dy = random_matrix(device, dtype, rows, problem.outputs, 2);
    std::vector<Matrix> w;
    Results results{random_matrix(device, dtype, rows, problem.outputs, 3),
                    random_matrix(device, dtype, rows, problem.inputs, 4),
                    {}};
    for (std::size_t g = 0; g < groups; ++g) {
        w.push_back(random_matrix(device, dtype, problem.outputs, problem.inputs, 10 + g));
        results.dw.push_back(random_matrix(device, dtype, problem.outputs, problem.inputs, 100 + g));
    }
    const Weights weights(device, w);
    const auto gradients = views_of<Rows>(results.dw);
    device.product().forward({x, problem.offsets, weights.pointers}, results.y, write, device.stream());
    device.product().input_gradient({dy, problem.offsets, weights.pointers}, results.dx, write, device.stream());
    device.product().weight_gradient(dy, x, problem.offsets, gradients, write, device.stream());
    return results;
}

std::unique_ptr<Weight> weight_of(Device& device, const Matrix& values) {
    return device.product().weight(values, values.dtype());
}

class CpuMatrixProductTest : public InstructionSetTest {};

TEST_P(CpuMatrixProductTest, GivesWhatTheReferenceGives) {
    const auto cpu = make_cpu(2);
    const auto reference = make_reference_device();
    const std::vector<std::vector<int>> groups = {
        {0, 0}, {0, 1}, {0, 63}, {0, 64}, {0, 65}, {0, 0, 70}, {0, 5, 5, 69, 198}, {0, 200}};
    for (const auto& offsets : groups)
        for (const auto& [inputs, outputs] : {std::pair{1, 1}, {3, 5}, {16, 48}, {48, 33}, {257, 64}, {130, 258}})
            for (const Write write : {Write::assign, Write::add}) {
                const Problem problem{offsets, inputs, outputs};
                const Results ours = multiply(*cpu, problem, write);
                const Results expected = multiply(*reference, problem, write);
                EXPECT_LT(relative_error(ours.y, expected.y), 2e-6);
                EXPECT_LT(relative_error(ours.dx, expected.dx), 2e-6);
                for (std::size_t g = 0; g < ours.dw.size(); ++g)
                    EXPECT_LT(relative_error(ours.dw[g], expected.dw[g]), 2e-6);
            }
}

// A row keeps its bits alone, among others, at another place, in another group and on other threads.
TEST_P(CpuMatrixProductTest, RowsAreIndependent) {
    for (const auto& [inputs, outputs] : {std::pair{256, 512}, {33, 70}, {130, 64}, {512, 8}}) {
        const auto one = make_cpu(1);
        const auto two = make_cpu(2);
        const Matrix all = random_matrix(*one, DType::float32, 500, inputs, 1);
        const Matrix w = random_matrix(*one, DType::float32, outputs, inputs, 2);
        const Matrix transposed = random_matrix(*one, DType::float32, inputs, outputs, 3);
        Matrix expected(*one, DType::float32, 500, outputs), expected_gradient(*one, DType::float32, 500, outputs);
        one->product().forward(all, *weight_of(*one, w), expected, one->stream());
        one->product().input_gradient(all, *weight_of(*one, transposed), expected_gradient, one->stream());
        for (Device* device : {one.get(), two.get()})
            for (const int first : {0, 1, 64, 100, 437})
                for (const int rows : {1, 2, 7, 63, 64, 65, 500}) {
                    const int count = std::min(rows, 500 - first);
                    Matrix y(*device, DType::float32, count, outputs), dx(*device, DType::float32, count, outputs);
                    const ConstRows part = all.view().slice(first, count);
                    device->product().forward(part, *weight_of(*device, w), y, device->stream());
                    device->product().input_gradient(part, *weight_of(*device, transposed), dx, device->stream());
                    EXPECT_TRUE(same_bits(y, expected.view().slice(first, count))) << first << " " << rows;
                    EXPECT_TRUE(same_bits(dx, expected_gradient.view().slice(first, count))) << first << " " << rows;
                }
    }
}

TEST_P(CpuMatrixProductTest, BitsDoNotDependOnThreads) {
    const Problem problem{{0, 130, 130, 137, 500}, 200, 300};
    const auto one = make_cpu(1);
    const Results expected = multiply(*one, problem, Write::add);
    for (const int threads : {2, 3, 5}) {
        const auto several = make_cpu(threads);
        const Results results = multiply(*several, problem, Write::add);
        EXPECT_TRUE(same_bits(results.y, expected.y));
        EXPECT_TRUE(same_bits(results.dx, expected.dx));
        for (std::size_t g = 0; g < expected.dw.size(); ++g) EXPECT_TRUE(same_bits(results.dw[g], expected.dw[g]));
    }
}

// Two calls on 128 and 72 rows add what one call on 200 adds: the second starts at a block's first row.
TEST_P(CpuMatrixProductTest, WeightGradientAddsBlocksInOrder) {
    const auto device = make_cpu(2);
    const Matrix x = random_matrix(*device, DType::float32, 200, 96, 1);
    const Matrix dy = random_matrix(*device, DType::float32, 200, 80, 2);
    Matrix at_once = zero_matrix(*device, DType::float32, 80, 96);
    Matrix in_parts = zero_matrix(*device, DType::float32, 80, 96);
    device->product().weight_gradient(dy, x, at_once, device->stream());
    device->product().weight_gradient(dy.view().slice(0, 128), x.view().slice(0, 128), in_parts, device->stream());
    device->product().weight_gradient(dy.view().slice(128, 72), x.view().slice(128, 72), in_parts, device->stream());
    EXPECT_TRUE(same_bits(at_once, in_parts));
}

TEST_P(CpuMatrixProductTest, ReadsAndWritesColumnsOfWiderMatrices) {
    const auto device = make_cpu(1);
    const Matrix wide = random_matrix(*device, DType::float32, 70, 100, 1);
    const Matrix w = random_matrix(*device, DType::float32, 24, 40, 2);
    Matrix narrow(*device, DType::float32, 70, 40), expected(*device, DType::float32, 70, 24);
    for (int r = 0; r < 70; ++r)
        std::ranges::copy(wide.view().columns(8, 40).row<float>(r), narrow.view().row<float>(r).begin());
    Matrix y = zero_matrix(*device, DType::float32, 70, 50);
    device->product().forward(narrow, *weight_of(*device, w), expected, device->stream());
    device->product().forward(wide.view().columns(8, 40), *weight_of(*device, w), y.view().columns(13, 24),
                              device->stream());
    EXPECT_TRUE(same_bits(y.view().columns(13, 24), expected));
    EXPECT_EQ(element(y, 3, 12), 0);
    EXPECT_EQ(element(y, 3, 37), 0);
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuMatrixProductTest, testing::ValuesIn(instruction_sets()),
                         instruction_set_name);

}  // namespace
}  // namespace expar
