#include "row_type.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "expar/base/matrix.hpp"

namespace expar {
namespace {

constexpr int int_max = std::numeric_limits<int>::max();

// What MPI multiplies a displacement by is an MPI_Aint: 3 million rows of 16 KiB lie 46 GiB into the view.
TEST(RowTypeTest, DisplacementsBeyondAnIntOfBytesAreSmallNumbersOfRows) {
    const std::vector<int> counts = {3'000'000, 0, 5, 70'000'000};
    const RowType type(4096, DType::float32);
    EXPECT_EQ(row_offsets(counts, "test"), (std::vector<int>{0, 3'000'000, 3'000'000, 3'000'005, 73'000'005}));

    MPI_Aint lower = -1, extent = 0;
    MPI_Type_get_extent(type.mpi(), &lower, &extent);
    EXPECT_EQ(lower, 0);
    EXPECT_EQ(extent * row_offsets(counts, "test")[3], 16'384LL * 3'000'005);
}

TEST(RowTypeTest, ARowMayItselfExceedAnIntOfBytes) {
    const RowType type(int_max, DType::float64);
    MPI_Aint lower = -1, extent = 0;
    MPI_Type_get_extent(type.mpi(), &lower, &extent);
    EXPECT_EQ(extent, 8LL * int_max);
}

TEST(RowTypeTest, RefusesMoreRowsThanAnIntCounts) {
    EXPECT_EQ(row_offsets(std::vector{int_max - 1, 1}, "test").back(), int_max);
    EXPECT_THROW((void)row_offsets(std::vector{int_max, 1}, "test"), Error);
    EXPECT_THROW((void)row_offsets(std::vector{1, -1}, "test"), Error);
    EXPECT_EQ(row_offsets({}, "test"), std::vector{0});
    EXPECT_EQ(int_count(std::size_t(int_max), "test"), int_max);
    EXPECT_THROW((void)int_count(std::size_t(int_max) + 1, "test"), Error);
}

TEST(RowTypeTest, AViewBeyondAnIntOfBytesSlicesAtTheRightByte) {
    std::byte* const base = nullptr;
    std::byte start{};
    const Rows view(&start, 4'000'000, 4096, DType::float32);
    const auto at = reinterpret_cast<std::uintptr_t>(view.slice(3'000'000, 1'000'000).data());
    EXPECT_EQ(at - reinterpret_cast<std::uintptr_t>(&start), 49'152'000'000u);
    EXPECT_EQ(Rows(base, 0, 0, DType::float32).slice(0, 0).data(), nullptr);
}

TEST(RowTypeTest, ACacheMakesOneTypePerRow) {
    RowTypeCache cache;
    const auto first = cache.of(8, DType::float32);
    EXPECT_EQ(cache.of(8, DType::float32), first);
    EXPECT_NE(cache.of(9, DType::float32), first);
    EXPECT_NE(cache.of(8, DType::float64), first);
}

TEST(RowTypeTest, NumbersAreGroupedByThousands) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1024), "1,024");
    EXPECT_EQ(grouped(12'345'678), "12,345,678");
    EXPECT_EQ(rows_text(1), "1 row");
    EXPECT_EQ(rows_text(1980), "1,980 rows");
}

}  // namespace
}  // namespace expar
