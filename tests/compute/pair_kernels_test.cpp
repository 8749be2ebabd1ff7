#include "pair_kernels.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "expar/compute/cpu_device.hpp"

namespace expar {
namespace {

using Bits = std::vector<bfloat16>;
using Floats = std::vector<float>;

int whole(int length, int part) {
    return (length + part - 1) / part * part;
}

template <class T>
std::vector<T> random_rows(int rows, int columns, unsigned seed) {
    std::mt19937 random(seed);
    std::uniform_real_distribution<float> uniform(-1, 1);
    std::vector<T> result(std::size_t(rows) * columns);
    for (T& element : result) {
        if constexpr (std::is_same_v<T, float>)
            element = uniform(random);
        else
            element = to_bfloat16(uniform(random));
    }
    return result;
}

double value_of(float element) {
    return to_float(to_bfloat16(element));
}
double value_of(bfloat16 element) {
    return to_float(element);
}

template <class T>
std::vector<T> transposed(const std::vector<T>& in, int rows, int columns) {
    std::vector<T> out(in.size());
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < columns; ++c) out[std::size_t(c) * rows + r] = in[std::size_t(r) * columns + c];
    return out;
}

class PairKernelsTest : public testing::TestWithParam<InstructionSet> {
protected:
    void SetUp() override {
        const auto sets = instruction_sets();
        if (std::ranges::find(sets, GetParam()) == sets.end())
            GTEST_SKIP() << "the processor lacks " << name_of(GetParam());
    }

    [[nodiscard]] static const PairKernels& kernels() {
        return GetParam() == InstructionSet::amx ? amx_pair_kernels : avx512_bf16_pair_kernels;
    }
    template <class T>
    [[nodiscard]] static const PairPacking<T>& packing() {
        if constexpr (std::is_same_v<T, float>)
            return kernels().from_float32;
        else
            return kernels().from_bfloat16;
    }

    static constexpr bfloat16 untouched{0x4b4b};  // a value that would be seen in a sum

    template <class T>
    static Bits right_factor(const std::vector<T>& in, int depth, int columns, bool transpose) {
        Bits out(std::size_t(whole(depth, pair_depth_multiple)) * whole(columns, pair_panel_columns), untouched);
        if (transpose) {
            const auto source = transposed(in, depth, columns);
            packing<T>().right_transposed({source.data(), depth, columns, depth}, out.data());
        } else {
            packing<T>().right({in.data(), columns, depth, columns}, out.data());
        }
        return out;
    }

    template <class T>
    static Bits left_factor(const std::vector<T>& in, int rows, int depth, bool transpose) {
        const int stride = whole(depth, pair_depth_multiple) + 8;
        Bits out(std::size_t(rows) * stride, untouched);
        if (transpose) {
            const auto source = transposed(in, rows, depth);
            packing<T>().left_transposed({source.data(), rows, depth, rows}, out.data(), stride);
        } else {
            packing<T>().left({in.data(), depth, rows, depth}, out.data(), stride);
        }
        return out;
    }

    static void multiply(const PairProduct& product) {
        kernels().begin();
        kernels().multiply(product);
        kernels().end();
    }
};

// c (+)= a b of one shape, whose factors are packed from T, both plain or both transposed. What is around c, and behind
// the last row of a, must not be touched: c has two more columns and a guard row.
template <class T>
void expect_products(const auto& left_factor, const auto& right_factor, const auto& multiply, int rows, int columns,
                     int depth) {
    const auto a = random_rows<T>(rows, depth, 1), b = random_rows<T>(depth, columns, 2);
    const int c_stride = columns + 2, packed_depth = whole(depth, pair_depth_multiple);
    const Floats before = random_rows<float>(rows + 1, c_stride, 3);
    for (const bool transpose : {false, true}) {
        const Bits left = left_factor(a, rows, depth, transpose), right = right_factor(b, depth, columns, transpose);
        for (const bool add : {false, true}) {
            Floats c = before;
            multiply(
                {rows, columns, packed_depth, left.data(), packed_depth + 8, right.data(), c.data(), c_stride, add});
            for (int r = 0; r <= rows; ++r)
                for (int column = 0; column < c_stride; ++column) {
                    const std::size_t at = std::size_t(r) * c_stride + column;
                    if (r == rows || column >= columns) {
                        ASSERT_EQ(c[at], before[at]) << "outside: " << r << ", " << column;
                        continue;
                    }
                    double sum = add ? before[at] : 0;
                    for (int d = 0; d < depth; ++d)
                        sum += value_of(a[std::size_t(r) * depth + d]) * value_of(b[std::size_t(d) * columns + column]);
                    ASSERT_NEAR(c[at], sum, 1e-6 * (depth + 1))
                        << rows << " x " << columns << " x " << depth << " at " << r << ", " << column;
                }
        }
    }
}

TEST_P(PairKernelsTest, MultiplyWhatIsPackedOfEveryShape) {
    const auto expect = [](int rows, int columns, int depth) {
        const auto multiply_it = [](const PairProduct& p) { multiply(p); };
        expect_products<bfloat16>([](const auto&... of) { return left_factor(of...); },
                                  [](const auto&... of) { return right_factor(of...); }, multiply_it, rows, columns,
                                  depth);
        expect_products<float>([](const auto&... of) { return left_factor(of...); },
                               [](const auto&... of) { return right_factor(of...); }, multiply_it, rows, columns,
                               depth);
    };
    for (const int rows : {1, 2, 13, 14, 15, 16, 17, 29, 31, 32, 33, 48, 63, 64, 65, 97}) expect(rows, 32, 64);
    for (const int columns : {1, 2, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 97}) expect(34, columns, 32);
    for (const int depth : {1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 511, 513, 1100}) expect(70, 33, depth);
    expect(1, 1, 1);
}

// Other rows below, and a cut between two calls, leave a row's bits alone.
TEST_P(PairKernelsTest, GiveARowTheSameBitsWhateverIsBesideIt) {
    constexpr int rows = 100, columns = 80, depth = 1056;
    const Bits a = random_rows<bfloat16>(rows, depth, 1);
    const Bits b = right_factor(random_rows<bfloat16>(depth, columns, 2), depth, columns, false);
    const auto product = [&](Floats& c, int first, int count, int first_column, int width, bool add) {
        multiply({count, width, depth, a.data() + std::ptrdiff_t(first) * depth, depth,
                  b.data() + std::ptrdiff_t(first_column) * depth,
                  c.data() + std::ptrdiff_t(first) * columns + first_column, columns, add});
    };
    for (const bool add : {false, true}) {
        const Floats before = random_rows<float>(rows, columns, 3);
        Floats together = before;
        product(together, 0, rows, 0, columns, add);
        for (const int count : {1, 7, 14, 16, 17, 31, 32, 33, 64}) {
            Floats cut = before;
            for (int first = 0; first < rows; first += count)
                for (int column = 0; column < columns; column += pair_panel_columns)
                    product(cut, first, std::min(count, rows - first), column,
                            std::min(pair_panel_columns, columns - column), add);
            EXPECT_EQ(cut, together) << count << " rows at once";
        }
    }
}

// The left factor ends where memory ends: a read behind it would end the test.
TEST_P(PairKernelsTest, ReadNothingBehindTheLastRow) {
    constexpr std::size_t page = 4096;
    void* memory = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    ASSERT_EQ(mprotect(static_cast<char*>(memory) + page, page, PROT_NONE), 0);
    const auto* end = reinterpret_cast<const bfloat16*>(static_cast<char*>(memory) + page);
    const Bits b(std::size_t(32) * pair_panel_columns);
    for (const int rows : {1, 15, 17, 33, 50}) {
        Floats c(std::size_t(rows) * pair_panel_columns, 1);
        multiply({rows, pair_panel_columns, 32, end - std::ptrdiff_t(rows) * 32, 32, b.data(), c.data(),
                  pair_panel_columns, false});
        EXPECT_EQ(c, Floats(c.size(), 0));
    }
    munmap(memory, 2 * page);
}

// Sums over blocks of rows are made by adding: the cut must not be seen either.
TEST_P(PairKernelsTest, GiveTheSameBitsWhenTheDepthIsCut) {
    constexpr int rows = 40, columns = 40, depth = 320;
    const Bits a = random_rows<bfloat16>(rows, depth, 1), b_rows = random_rows<bfloat16>(depth, columns, 2);
    Floats together(std::size_t(rows) * columns), cut = together;
    const Bits b = right_factor(b_rows, depth, columns, false);
    multiply({rows, columns, depth, a.data(), depth, b.data(), together.data(), columns, false});
    for (int first = 0; first < depth; first += 64) {
        const Bits part = right_factor(Bits(b_rows.begin() + std::ptrdiff_t(first) * columns,
                                            b_rows.begin() + std::ptrdiff_t(first + 64) * columns),
                                       64, columns, false);
        multiply({rows, columns, 64, a.data() + first, depth, part.data(), cut.data(), columns, first > 0});
    }
    EXPECT_EQ(cut, together);
}

TEST_P(PairKernelsTest, RoundToTheNearestAndTiesToEven) {
    Floats in;
    for (uint32_t high = 0; high <= 0xffff; ++high)
        for (const uint32_t low : {0x0000, 0x0001, 0x7fff, 0x8000, 0x8001, 0xffff})
            in.push_back(std::bit_cast<float>(high << 16 | low));
    for (const int count : {int(in.size()), 1, 15, 16, 17, 31, 33}) {
        Bits out(in.size(), untouched);
        kernels().conversion.round(in.data(), out.data(), count);
        for (std::size_t i = 0; i < in.size(); ++i) {
            if (int(i) >= count)
                ASSERT_EQ(out[i], untouched);
            else if (std::isnan(in[i]))
                ASSERT_TRUE(std::isnan(to_float(out[i])));
            else if (std::abs(in[i]) < std::numeric_limits<float>::min())
                ASSERT_EQ(out[i] & 0x7fff, 0) << in[i];  // taken for a zero
            else
                ASSERT_EQ(out[i], to_bfloat16(in[i])) << in[i];
        }
    }
}

TEST_P(PairKernelsTest, WidenEveryValue) {
    Bits in(0x10000);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = {std::uint16_t(i)};
    for (const int count : {int(in.size()), 1, 15, 16, 17, 33}) {
        Floats out(in.size(), -7);
        kernels().conversion.widen(in.data(), out.data(), count);
        for (std::size_t i = 0; i < in.size(); ++i)
            ASSERT_EQ(std::bit_cast<uint32_t>(out[i]), int(i) < count ? uint32_t(i) << 16 : 0xc0e00000U);
    }
}

TEST_P(PairKernelsTest, AddBeforeTheyRound) {
    for (const int count : {1, 15, 16, 17, 100}) {
        const Bits before = random_rows<bfloat16>(1, 100, 1);
        const Floats in = random_rows<float>(1, 100, 2);
        Bits out = before;
        kernels().conversion.add_round(in.data(), out.data(), count);
        for (int i = 0; i < 100; ++i)
            ASSERT_EQ(out[std::size_t(i)], i < count
                                               ? to_bfloat16(to_float(before[std::size_t(i)]) + in[std::size_t(i)])
                                               : before[std::size_t(i)]);
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, PairKernelsTest,
                         testing::Values(InstructionSet::avx512_bf16, InstructionSet::amx),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace expar
