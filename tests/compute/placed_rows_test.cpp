#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "expar/compute/rows.hpp"
#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

using Order = RowOperations::Order;

// Three matrices that lie apart, and for each of `tokens` rows `k` different rows of them, some of which do not exist.
// Every row has one owner, as at hosts of experts.
struct Apart {
    std::vector<Matrix> matrices;
    std::vector<void*> bases;
    std::vector<int> base_of, row_of;
    int cols;
    DType dtype;

    Apart(Device& device, DType type, int tokens, int k, int width, std::uint64_t seed) : cols(width), dtype(type) {
        const RandomField field(3, Purpose::test);
        std::array<int, 3> rows{};
        for (int i = 0; i < tokens * k; ++i) {
            const int base = int(field.below(4, std::uint64_t(i))) - 1;
            base_of.push_back(base);
            row_of.push_back(base < 0 ? -1 : rows[std::size_t(base)]++);
        }
        for (const int count : rows) {
            matrices.push_back(random_matrix(device, dtype, count, cols, seed++));
            bases.push_back(matrices.back().view().data());
        }
    }
    [[nodiscard]] Places places() const { return {bases, base_of, row_of, cols, dtype}; }
    [[nodiscard]] ConstRows row(int i) const { return matrices[std::size_t(base_of[i])].view().slice(row_of[i], 1); }
};

void expect_same(const Apart& a, const Apart& b) {
    for (std::size_t m = 0; m < a.matrices.size(); ++m) EXPECT_TRUE(same_bits(a.matrices[m], b.matrices[m]));
}

struct Results {
    Apart stored, d_terms;
    Matrix by_choice, by_base, counted, d_weights;
};

struct Shape {
    DType dtype;
    int tokens, k, cols;
};

Results run(Device& device, const Shape& shape, Stores stores) {
    const auto [dtype, tokens, k, cols] = shape;
    const Matrix x = random_matrix(device, dtype, tokens, cols, 11);
    const Matrix weights = random_matrix(device, wide(dtype), tokens, k, 12);
    const Apart terms(device, dtype, tokens, k, cols, 20);
    const auto make = [&] { return random_matrix(device, dtype, tokens, cols, 13); };
    Results out{{device, dtype, tokens, k, cols, 30},
                {device, dtype, tokens, k, cols, 40},
                make(),
                make(),
                make(),
                random_matrix(device, wide(dtype), tokens, k, 14)};
    const RowOperations& rows = device.rows();
    Stream& stream = device.stream();
    rows.store(x, out.stored.places(), stores, stream);
    rows.weighted_sum(terms.places(), weights, {Order::by_choice, stores}, out.by_choice, stream);
    rows.weighted_sum(terms.places(), weights, {Order::by_base, stores}, out.by_base, stream);
    rows.weighted_sum(terms.places(), ConstRows(), {Order::by_base, stores}, out.counted, stream);
    rows.weighted_sum_backward(x, {out.d_terms.bases, terms.places(), weights}, stores, out.d_weights, stream);
    return out;
}

class PlacedRowsTest : public InstructionSetTest {};

TEST_P(PlacedRowsTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (const DType dtype : {DType::float32, DType::bfloat16})
            for (const int tokens : {0, 1, 130})
                for (const int cols : {1, 32, 33, 320})
                    for (const int k : {1, 3})
                        for (const Stores stores : {Stores::ordinary, Stores::past_caches}) {
                            const Shape shape{dtype, tokens, k, cols};
                            const Results ours = run(*cpu, shape, stores);
                            const Results expected = run(*reference, shape, stores);
                            expect_same(ours.stored, expected.stored);
                            expect_same(ours.d_terms, expected.d_terms);
                            EXPECT_TRUE(same_bits(ours.by_choice, expected.by_choice));
                            EXPECT_TRUE(same_bits(ours.by_base, expected.by_base));
                            EXPECT_TRUE(same_bits(ours.counted, expected.counted));
                            EXPECT_LT(relative_error(ours.d_weights, expected.d_weights), 1e-6);
                        }
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, PlacedRowsTest, testing::ValuesIn(instruction_sets()), instruction_set_name);

class PlacedRowsOnDeviceTest : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Device> device = make_device_named(GetParam());
    Stream& stream = device->stream();
};

// By hand: each base's chain of fma is rounded, then they are added by ascending base.
TEST_P(PlacedRowsOnDeviceTest, SumsByBaseAreRoundedBetween) {
    constexpr int cols = 37;
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const Matrix high = random_matrix(*device, dtype, 2, cols, 1), low = random_matrix(*device, dtype, 1, cols, 2);
        const Matrix weights = random_matrix(*device, DType::float32, 1, 4, 3);
        Matrix out = random_matrix(*device, dtype, 1, cols, 4);
        // NOLINTNEXTLINE: sums only read
        std::array<void*, 2> bases{const_cast<void*>(low.view().data()), const_cast<void*>(high.view().data())};
        const std::array base_of{1, -1, 0, 1}, row_of{1, -1, 0, 0};
        device->rows().weighted_sum({bases, base_of, row_of, cols, dtype}, weights, {.order = Order::by_base}, out,
                                    stream);
        const auto w = [&](int j) { return float(element(weights, 0, j)); };
        const auto kept = [&](float value) { return dtype == DType::bfloat16 ? to_float(to_bfloat16(value)) : value; };
        for (int c = 0; c < cols; ++c) {
            const float first = kept(std::fma(w(2), float(element(low, 0, c)), 0.0F));
            const float second = kept(std::fma(w(3), float(element(high, 0, c)), w(0) * float(element(high, 1, c))));
            EXPECT_EQ(float(element(out, 0, c)), kept(first + second));
        }
    }
}

// The same bits as the operations on stacked rows have: what moves rows otherwise is compared with it.
TEST_P(PlacedRowsOnDeviceTest, AgreesWithTheOperationsOnStackedRows) {
    constexpr int tokens = 50, k = 3, cols = 129;
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        Results ours = run(*device, {dtype, tokens, k, cols}, Stores::past_caches);
        const Matrix x = random_matrix(*device, dtype, tokens, cols, 11);
        const Matrix weights = random_matrix(*device, DType::float32, tokens, k, 12);
        const Apart terms(*device, dtype, tokens, k, cols, 20);
        Matrix flat(*device, dtype, tokens * k, cols), sums(*device, dtype, tokens, cols);
        std::vector<int> index, token;
        for (int i = 0; i < tokens * k; ++i) {
            const bool there = terms.base_of[std::size_t(i)] >= 0;
            index.push_back(there ? i : -1);
            token.push_back(there ? i / k : -1);
            if (there)
                device->rows().gather(terms.row(i), std::array{0}, flat.view().slice(i, 1), stream);
            else
                device->rows().gather(x.view().slice(0, 1), std::array{-1}, flat.view().slice(i, 1), stream);
        }
        device->rows().weighted_sum(ConstRows(flat), index, weights, sums, stream);
        EXPECT_TRUE(same_bits(sums, ours.by_choice));

        Matrix d_flat(*device, dtype, tokens * k, cols), dots(*device, DType::float32, tokens * k, 1);
        const ConstRows weight(weights.view().data(), tokens * k, 1, DType::float32);
        device->rows().weighted_sum_backward(ConstRows(x), token, {flat, weight}, d_flat, dots, stream);
        EXPECT_TRUE(same_bits(ConstRows(dots.view().data(), tokens, k, DType::float32), ours.d_weights));
        for (int i = 0; i < tokens * k; ++i)
            if (token[std::size_t(i)] >= 0) {
                EXPECT_TRUE(same_bits(d_flat.view().slice(i, 1), ours.d_terms.row(i))) << i;
                EXPECT_TRUE(same_bits(x.view().slice(i / k, 1), ours.stored.row(i))) << i;
            }
    }
}

INSTANTIATE_TEST_SUITE_P(Devices, PlacedRowsOnDeviceTest, testing::ValuesIn(device_names()));

}  // namespace
}  // namespace expar
