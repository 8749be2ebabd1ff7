#include "expar/compute/loss.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

// Every fifth row bears no loss.
std::vector<int> targets_of(int rows, int vocabulary) {
    std::vector<int> targets;
    for (int i = 0; i < rows; ++i) targets.push_back(i % 5 == 4 ? -1 : i * 7 % vocabulary);
    return targets;
}

struct Results {
    Matrix losses, log_sum_exp, d_logits;
};

Results run(Device& device, int rows, int vocabulary, DType gradient = DType::float32) {
    const DType dtype = DType::float32;
    const Matrix logits = random_matrix(device, dtype, rows, vocabulary, 1, 4);
    const auto targets = targets_of(rows, vocabulary);
    Results out{Matrix(device, dtype, rows, 1), Matrix(device, dtype, rows, 1),
                Matrix(device, gradient, rows, vocabulary)};
    device.loss().forward(logits, targets, out.losses, out.log_sum_exp, device.stream());
    device.loss().backward(logits, targets, out.log_sum_exp, 0.125, out.d_logits, device.stream());
    return out;
}

class CpuLossTest : public InstructionSetTest {};

TEST_P(CpuLossTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const int rows : {0, 1, 63, 64, 65, 300})
            for (const int vocabulary : {1, 2, 17, 256, 1001}) {
                const Results ours = run(*cpu, rows, vocabulary);
                const Results expected = run(*reference, rows, vocabulary);
                EXPECT_LT(relative_error(ours.log_sum_exp, expected.log_sum_exp), 1e-6);
                if (vocabulary == 1) continue;  // every loss is 0
                EXPECT_LT(relative_error(ours.losses, expected.losses), 1e-6);
                EXPECT_LT(relative_error(ours.d_logits, expected.d_logits), 4e-6);
                const Results narrow = run(*cpu, rows, vocabulary, DType::bfloat16);
                EXPECT_LT(relative_error(narrow.d_logits, expected.d_logits), 0x1p-8);
                const Results narrow_expected = run(*reference, rows, vocabulary, DType::bfloat16);
                EXPECT_LT(relative_error(narrow.d_logits, narrow_expected.d_logits), 0x1p-7);
            }
    }
}

TEST(Loss, BackwardIsTheGradientOfForward) {
    const auto device = make_reference_device();
    const DType dtype = DType::float64;
    Matrix logits = random_matrix(*device, dtype, 10, 8, 1);
    const auto targets = targets_of(10, 8);
    Matrix losses(*device, dtype, 10, 1), lse(*device, dtype, 10, 1), d_logits(*device, dtype, 10, 8);
    const auto objective = [&] {
        device->loss().forward(logits, targets, losses, lse, device->stream());
        double sum = 0;
        for (int i = 0; i < 10; ++i) sum += 0.25 * element(losses, i, 0);
        return sum;
    };
    objective();
    device->loss().backward(logits, targets, lse, 0.25, d_logits, device->stream());
    EXPECT_LT(gradient_error(logits, d_logits, objective), 1e-8);
}

TEST(Loss, TheGradientMayTakeTheLogitsPlace) {
    for (const auto& name : device_names()) {
        const auto device = make_device_named(name);
        const auto targets = targets_of(9, 30);
        Matrix logits = random_matrix(*device, DType::float32, 9, 30, 1);
        Matrix losses(*device, DType::float32, 9, 1), lse(*device, DType::float32, 9, 1);
        Matrix beside(*device, DType::float32, 9, 30);
        device->loss().forward(logits, targets, losses, lse, device->stream());
        device->loss().backward(logits, targets, lse, 2, beside, device->stream());
        device->loss().backward(logits, targets, lse, 2, logits, device->stream());
        EXPECT_TRUE(same_bits(logits, beside));
    }
}

// A training loop stops on a loss that is not a number: it must not vanish in a maximum on the way.
TEST(Loss, NotANumberStaysOne) {
    for (const auto& name : device_names()) {
        const auto device = make_device_named(name);
        Matrix logits = random_matrix(*device, DType::float32, 1, 40, 1);
        logits.view().row<float>(0)[3] = std::nanf("");
        Matrix losses(*device, DType::float32, 1, 1), lse(*device, DType::float32, 1, 1);
        device->loss().forward(logits, std::array{1}, losses, lse, device->stream());
        EXPECT_TRUE(std::isnan(element(losses, 0, 0))) << name;
    }
}

TEST_P(CpuLossTest, BitsDoNotDependOnTheRowsBesideNorOnThreads) {
    const auto one = make_cpu(1);
    const auto three = make_cpu(3);
    const Results all = run(*one, 500, 77);
    const Results threaded = run(*three, 500, 77);
    EXPECT_TRUE(same_bits(all.losses, threaded.losses));
    EXPECT_TRUE(same_bits(all.d_logits, threaded.d_logits));
    for (const int rows : {1, 63, 65}) {
        const Results some = run(*one, rows, 77);
        EXPECT_TRUE(same_bits(some.losses, all.losses.view().slice(0, rows)));
        EXPECT_TRUE(same_bits(some.d_logits, all.d_logits.view().slice(0, rows)));
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuLossTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

}  // namespace
}  // namespace expar
