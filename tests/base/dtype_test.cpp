#include "expar/base/dtype.hpp"

#include <gtest/gtest.h>

#include "expar/base/matrix.hpp"

namespace expar {
namespace {

TEST(DType, EveryTypeHasItsSizeAndName) {
    EXPECT_EQ(size_of(dtype_of<double>), sizeof(double));
    EXPECT_EQ(size_of(dtype_of<float>), sizeof(float));
    EXPECT_EQ(size_of(dtype_of<bfloat16>), sizeof(bfloat16));
    EXPECT_EQ(size_of(dtype_of<int>), sizeof(int));
    EXPECT_EQ(name_of(DType::bfloat16), "bfloat16");
}

TEST(DType, SumsOfBfloat16AreKeptInFloat32AndOthersInTheirOwnType) {
    EXPECT_EQ(wide(DType::bfloat16), DType::float32);
    EXPECT_EQ(wide(DType::float32), DType::float32);
    EXPECT_EQ(wide(DType::float64), DType::float64);
    EXPECT_EQ(dtype_of<Wide<bfloat16>>, wide(DType::bfloat16));
    EXPECT_EQ(dtype_of<Wide<float>>, wide(DType::float32));
    EXPECT_EQ(dtype_of<Wide<double>>, wide(DType::float64));
}

TEST(DType, ATypeOfRunTimeBecomesTheElementItNames) {
    for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16})
        with_element(dtype, [&]<class Element>(Element) { EXPECT_EQ(dtype_of<Element>, dtype); });
    EXPECT_THROW(with_element(DType::int32, [](auto) {}), Error);
    EXPECT_THROW(with_real(DType::bfloat16, [](auto) {}), Error);
}

TEST(DType, AValueIsRoundedToItsElement) {
    EXPECT_EQ(rounded<double>(0.1), 0.1);
    EXPECT_EQ(rounded<float>(0.1), 0.1F);
    EXPECT_EQ(float(rounded<bfloat16>(0.1)), 0x1.9ap-4F);
}

}  // namespace
}  // namespace expar
