#include "expar/moe/parameter_block.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "expar/base/device.hpp"

namespace expar {
namespace {

class ClearGradient : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_reference_device();
    ParameterBlock block{*device,
                         DType::float64,
                         {.tensors = {{.name = "up", .rows = 2, .cols = 3}, {.name = "down", .rows = 3, .cols = 2}}}};

    static void fill(Rows rows, double value) {
        for (int r = 0; r < rows.rows(); ++r) std::ranges::fill(rows.row<double>(r), value);
    }
    static bool all(ConstRows rows, double value) {
        for (int r = 0; r < rows.rows(); ++r)
            if (!std::ranges::all_of(rows.row<double>(r), [=](double element) { return element == value; }))
                return false;
        return true;
    }
};

TEST_F(ClearGradient, IsZeroWhateverStoodThere) {
    EXPECT_TRUE(all(block.flat_gradient(), 0));
    fill(block.flat_gradient(), 7);
    block.clear_gradient();
    EXPECT_TRUE(all(block.gradient(1), 0));
    EXPECT_TRUE(all(block.flat_gradient(), 0));
}

TEST_F(ClearGradient, EndsForATensorWithItsOverwriting) {
    fill(block.flat_gradient(), 7);
    block.clear_gradient();
    EXPECT_TRUE(block.gradient_is_clear(0, 2));
    fill(block.overwrite_gradient(1, 1), 3);
    EXPECT_FALSE(block.gradient_is_clear(0, 2));
    EXPECT_TRUE(block.gradient_is_clear(0, 1));
    EXPECT_TRUE(all(block.gradient(0), 0));
    EXPECT_TRUE(all(block.gradient(1), 3));
    EXPECT_FALSE(block.gradient_is_clear(0, 1));
}

}  // namespace
}  // namespace expar
