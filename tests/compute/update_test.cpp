#include "expar/compute/update.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "support/devices.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

struct Results {
    Matrix adamw, moment1, moment2, sgd, summed;
    double squares = 0;
};

Results run(Device& device, DType dtype, int rows, int cols) {
    const auto make = [&](std::uint64_t seed) { return random_matrix(device, dtype, rows, cols, seed); };
    const std::vector<Matrix> gradients = [&] {
        std::vector<Matrix> list;
        for (std::uint64_t seed = 1; seed <= 3; ++seed) list.push_back(make(seed));
        return list;
    }();
    Results out{make(10), zero_matrix(device, dtype, rows, cols), zero_matrix(device, dtype, rows, cols), make(11),
                make(12)};
    Stream& stream = device.stream();
    AdamW options{.learning_rate = 0.01, .weight_decay = 0.1, .gradient_scale = 0.5};
    for (options.step = 1; options.step <= 3; ++options.step)
        device.update().adamw(options, gradients[std::size_t(options.step) - 1], out.adamw, out.moment1, out.moment2,
                              stream);
    device.update().sgd(0.1, 0.2, 0.5, gradients[0], out.sgd, stream);
    device.update().sum_in_order(std::vector<ConstRows>(gradients.begin(), gradients.end()), out.summed, stream);
    out.squares = device.update().sum_of_squares(gradients[0], stream);
    return out;
}

class CpuUpdateTest : public InstructionSetTest {};

TEST_P(CpuUpdateTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const auto& [rows, cols] : {std::pair{0, 5}, {1, 10}, {1, 33}, {63, 17}, {65, 256}, {500, 130}}) {
            const Results ours = run(*cpu, DType::float32, rows, cols);
            const Results expected = run(*reference, DType::float32, rows, cols);
            EXPECT_LT(relative_error(ours.adamw, expected.adamw), 1e-6);
            EXPECT_LT(relative_error(ours.moment1, expected.moment1), 2e-6);
            EXPECT_LT(relative_error(ours.moment2, expected.moment2), 1e-6);
            EXPECT_LT(relative_error(ours.sgd, expected.sgd), 1e-6);
            EXPECT_TRUE(same_bits(ours.summed, expected.summed));
            EXPECT_NEAR(ours.squares, expected.squares, 1e-13 * expected.squares);
        }
    }
}

TEST_P(CpuUpdateTest, SumsInPlaceOfAnyPart) {
    const auto reference = make_reference_device();
    const auto cpu = make_cpu(2);
    for (const int at : {0, 1, 2}) {
        for (Device* device : {reference.get(), cpu.get()}) {
            std::vector<Matrix> parts;
            for (std::uint64_t seed = 1; seed <= 3; ++seed)
                parts.push_back(random_matrix(*device, DType::float32, 3, 5000, seed));
            Matrix apart(*device, DType::float32, 3, 5000);
            const std::vector<ConstRows> views(parts.begin(), parts.end());
            device->update().sum_in_order(views, apart, device->stream());
            device->update().sum_in_order(views, parts[at], device->stream());
            EXPECT_TRUE(same_bits(parts[at], apart)) << device->name() << ", part " << at;
        }
    }
}

// Written from the paper, for one number.
TEST(Update, AdamWFollowsItsFormula) {
    const auto device = make_reference_device();
    const DType dtype = DType::float64;
    Matrix value(*device, dtype, 1, 1), gradient(*device, dtype, 1, 1);
    Matrix moment1 = zero_matrix(*device, dtype, 1, 1), moment2 = zero_matrix(*device, dtype, 1, 1);
    value.view().row<double>(0)[0] = 2;
    AdamW options{
        .learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3, .weight_decay = 0.3, .gradient_scale = 0.5};
    double w = 2, m = 0, v = 0;
    for (const double g : {4.0, -1.0}) {
        gradient.view().row<double>(0)[0] = g;
        device->update().adamw(options, gradient, value, moment1, moment2, device->stream());
        m = 0.9 * m + 0.1 * 0.5 * g;
        v = 0.99 * v + 0.01 * 0.25 * g * g;
        const double m_hat = m / (1 - std::pow(0.9, options.step));
        const double v_hat = v / (1 - std::pow(0.99, options.step));
        w -= 0.1 * (m_hat / (std::sqrt(v_hat) + 1e-3) + 0.3 * w);
        EXPECT_NEAR(element(value, 0, 0), w, 1e-15);
        ++options.step;
    }
}

TEST_P(CpuUpdateTest, BitsDoNotDependOnThreadsNorOnTheStride) {
    const auto one = make_cpu(1);
    const auto three = make_cpu(3);
    const Results expected = run(*one, DType::float32, 300, 257);
    const Results results = run(*three, DType::float32, 300, 257);
    EXPECT_TRUE(same_bits(results.adamw, expected.adamw));
    EXPECT_TRUE(same_bits(results.sgd, expected.sgd));
    EXPECT_EQ(results.squares, expected.squares);
    const Matrix wide = random_matrix(*one, DType::float32, 50, 40, 1);
    Matrix narrow(*one, DType::float32, 50, 30);
    for (int r = 0; r < 50; ++r)
        std::ranges::copy(wide.view().row<float>(r).first(30), narrow.view().row<float>(r).begin());
    EXPECT_EQ(one->update().sum_of_squares(wide.view().columns(0, 30), one->stream()),
              one->update().sum_of_squares(narrow, one->stream()));
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuUpdateTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

}  // namespace
}  // namespace expar
