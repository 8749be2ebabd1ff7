#include "expar/compute/norm.hpp"

#include <gtest/gtest.h>

#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

struct Results {
    Matrix y, inverse_rms, dx, d_weight;
};

Results run(Device& device, int rows, int groups, int width, Write write, DType dtype = DType::float32) {
    const DType real = wide(dtype);
    const Matrix x = random_matrix(device, dtype, rows, groups * width, 1);
    const Matrix weight = random_matrix(device, real, 1, width, 2);
    const Matrix dy = random_matrix(device, dtype, rows, groups * width, 3);
    Results out{Matrix(device, dtype, rows, groups * width), Matrix(device, real, rows, groups),
                random_matrix(device, dtype, rows, groups * width, 4), random_matrix(device, real, 1, width, 5)};
    device.norm().forward(x, weight, 1e-5, out.y, out.inverse_rms, device.stream());
    device.norm().backward({x, weight, out.inverse_rms}, dy, out.dx, write, out.d_weight, device.stream());
    return out;
}

class CpuNormTest : public InstructionSetTest {};

TEST_P(CpuNormTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const DType dtype : {DType::float32, DType::bfloat16})
            for (const int rows : {0, 1, 63, 64, 65, 300})
                for (const auto& [groups, width] : {std::pair{1, 1}, {1, 33}, {1, 256}, {4, 8}, {3, 17}})
                    for (const Write write : {Write::assign, Write::add}) {
                        const Results ours = run(*cpu, rows, groups, width, write, dtype);
                        const Results expected = run(*reference, rows, groups, width, write, dtype);
                        EXPECT_LT(relative_error(ours.y, expected.y), row_tolerance(dtype, 1e-6));
                        EXPECT_LT(relative_error(ours.inverse_rms, expected.inverse_rms), 1e-6);
                        EXPECT_LT(relative_error(ours.d_weight, expected.d_weight), 2e-6);
                        if (width == 1) continue;  // a lone number is normalised to its sign: no gradient but rounding
                        EXPECT_LT(relative_error(ours.dx, expected.dx), row_tolerance(dtype, 2e-6));
                    }
    }
}

TEST(Norm, BackwardIsTheGradientOfForward) {
    const auto device = make_reference_device();
    Stream& stream = device->stream();
    const DType dtype = DType::float64;
    for (const int groups : {1, 3}) {
        Matrix x = random_matrix(*device, dtype, 5, groups * 6, 1), weight = random_matrix(*device, dtype, 1, 6, 2);
        const Matrix dy = random_matrix(*device, dtype, 5, groups * 6, 3);
        Matrix y(*device, dtype, 5, groups * 6), inverse(*device, dtype, 5, groups), dx(*device, dtype, 5, groups * 6);
        Matrix d_weight = zero_matrix(*device, dtype, 1, 6);
        const auto objective = [&] {
            device->norm().forward(x, weight, 1e-2, y, inverse, stream);
            return inner_product(y, dy);
        };
        objective();
        device->norm().backward({x, weight, inverse}, dy, dx, Write::assign, d_weight, stream);
        EXPECT_LT(gradient_error(x, dx, objective), 1e-8);
        EXPECT_LT(gradient_error(weight, d_weight, objective), 1e-8);
    }
}

TEST_P(CpuNormTest, BitsDoNotDependOnTheRowsBesideNorOnThreads) {
    const auto one = make_cpu(1);
    const auto three = make_cpu(3);
    const Results all = run(*one, 500, 2, 40, Write::assign);
    const Results threaded = run(*three, 500, 2, 40, Write::assign);
    EXPECT_TRUE(same_bits(all.y, threaded.y));
    EXPECT_TRUE(same_bits(all.dx, threaded.dx));
    EXPECT_TRUE(same_bits(all.d_weight, threaded.d_weight));
    for (const int rows : {1, 63, 64, 65}) {
        const Results some = run(*one, rows, 2, 40, Write::assign);
        EXPECT_TRUE(same_bits(some.y, all.y.view().slice(0, rows)));
        EXPECT_TRUE(same_bits(some.dx, all.dx.view().slice(0, rows)));
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuNormTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

}  // namespace
}  // namespace expar
