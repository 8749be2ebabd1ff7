#include "expar/compute/activation.hpp"

#include <gtest/gtest.h>

#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

class ActivationTest : public testing::TestWithParam<std::string> {
protected:
    Activation kind = activation_named(GetParam());
    int columns = inner_columns(kind);
    std::unique_ptr<Device> reference = make_reference_device();
};

TEST_P(ActivationTest, CpuGivesWhatTheReferenceGives) {
    for (const auto& [set, threads] : sets_and_threads()) {
        const auto cpu = make_cpu_device(threads, set);
        for (const int rows : {0, 1, 63, 64, 65, 300})
            for (const int width : {1, 7, 16, 33, 130}) {
                Matrix out[2], d_inner[2];
                for (const int which : {0, 1}) {
                    Device& device = which == 0 ? *cpu : *reference;
                    const Matrix inner = random_matrix(device, DType::float32, rows, columns * width, 1, 3);
                    const Matrix d_out = random_matrix(device, DType::float32, rows, width, 2);
                    out[which] = Matrix(device, DType::float32, rows, width);
                    d_inner[which] = Matrix(device, DType::float32, rows, columns * width);
                    device.activation().forward(kind, inner, out[which], device.stream());
                    device.activation().backward(kind, inner, d_out, d_inner[which], device.stream());
                }
                EXPECT_LT(relative_error(out[0], out[1]), 1e-6);
                EXPECT_LT(relative_error(d_inner[0], d_inner[1]), 2e-6);
            }
    }
}

// Far from 0 an exponential overflows and a cancellation loses everything: the curves must not.
TEST_P(ActivationTest, CpuIsAccurateElementByElementEverywhere) {
    for (const InstructionSet set : instruction_sets()) {
        const auto cpu = make_cpu_device(1, set);
        const int count = 20001;
        Matrix inner(*cpu, DType::float32, 1, columns * count), out(*cpu, DType::float32, 1, count);
        Matrix expected(*reference, DType::float32, 1, count);
        for (int i = 0; i < count; ++i) {
            inner.view().row<float>(0)[i] = float(i - count / 2) * 0.011F;
            if (columns == 2) inner.view().row<float>(0)[count + i] = 1;
        }
        cpu->activation().forward(kind, inner, out, cpu->stream());
        reference->activation().forward(kind, inner, expected, reference->stream());
        for (int i = 0; i < count; ++i) {
            const double x = element(inner, 0, i);
            EXPECT_NEAR(element(out, 0, i), element(expected, 0, i),
                        3e-7 * std::min(1.0, std::abs(x)) + 3e-7 * std::abs(element(expected, 0, i)))
                << x;
        }
    }
}

TEST_P(ActivationTest, BackwardIsTheGradientOfForward) {
    const DType dtype = DType::float64;
    Matrix inner = random_matrix(*reference, dtype, 5, columns * 7, 1);
    const Matrix d_out = random_matrix(*reference, dtype, 5, 7, 2);
    Matrix out(*reference, dtype, 5, 7), d_inner(*reference, dtype, 5, columns * 7);
    reference->activation().backward(kind, inner, d_out, d_inner, reference->stream());
    const double error = gradient_error(inner, d_inner, [&] {
        reference->activation().forward(kind, inner, out, reference->stream());
        return inner_product(out, d_out);
    });
    EXPECT_LT(error, 1e-8);
}

TEST_P(ActivationTest, CpuBitsDoNotDependOnTheRowsBesideNorOnThreads) {
    for (const InstructionSet set : instruction_sets()) {
        const auto one = make_cpu_device(1, set);
        const auto three = make_cpu_device(3, set);
        const Matrix inner = random_matrix(*one, DType::float32, 500, columns * 33, 1);
        Matrix all(*one, DType::float32, 500, 33), threaded(*three, DType::float32, 500, 33),
            row(*one, DType::float32, 1, 33);
        one->activation().forward(kind, inner, all, one->stream());
        three->activation().forward(kind, inner, threaded, three->stream());
        EXPECT_TRUE(same_bits(all, threaded));
        for (const int r : {0, 63, 64, 499}) {
            one->activation().forward(kind, inner.view().slice(r, 1), row, one->stream());
            EXPECT_TRUE(same_bits(row, all.view().slice(r, 1)));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Kinds, ActivationTest, testing::Values("swiglu", "gelu", "gelu_tanh", "relu"));

TEST(ActivationNames, AnUnknownNameListsTheKnownOnes) {
    EXPECT_EQ(activation_names(), "swiglu, gelu, gelu_tanh, relu");
    try {
        (void)activation_named("silu");
        FAIL() << "no error";
    } catch (const UserError& error) {
        EXPECT_STREQ(error.what(), "unknown activation 'silu'; known: swiglu, gelu, gelu_tanh, relu");
    }
}

}  // namespace
}  // namespace expar
