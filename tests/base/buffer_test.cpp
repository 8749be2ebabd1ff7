#include "expar/base/buffer.hpp"

#include <gtest/gtest.h>

#include <cstdint>

#include "expar/base/matrix.hpp"
#include "support/devices.hpp"

namespace expar {
namespace {

class BufferTest : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Device> device = make_device_named(GetParam());
};

TEST_P(BufferTest, MemoryIsAlignedAndWritable) {
    for (const std::size_t count : {1, 3, 63, 64, 65, 1000, 4097, 1 << 20}) {
        Buffer buffer(*device, DType::float32, count);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
        buffer.zero(device->stream());
        for (float& value : buffer.host<float>()) {
            EXPECT_EQ(value, 0);
            value = 1;
        }
    }
}

TEST_P(BufferTest, LiveBuffersNeverOverlap) {
    std::vector<Buffer> live;
    for (int round = 0; round < 300; ++round) {
        live.emplace_back(*device, DType::int32, std::size_t(1 + round * 37 % 500));
        for (int& value : live.back().host<int>()) value = round;
        if (round % 3 == 2) live.erase(live.begin());
    }
    for (const Buffer& buffer : live)
        for (const int value : buffer.host<int>()) EXPECT_EQ(value, buffer.host<int>()[0]);
}

TEST_P(BufferTest, OwnersMoveAndReadAsTheirOwnTypeAlone) {
    Buffer buffer(*device, DType::float64, 5);
    const void* data = buffer.data();
    Buffer moved(std::move(buffer));
    EXPECT_EQ(moved.data(), data);
    EXPECT_EQ(moved.bytes(), 40U);
    EXPECT_EQ(buffer.count(), 0U);  // NOLINT: a moved-from buffer is empty
    EXPECT_THROW((void)moved.host<float>(), Error);
    EXPECT_EQ(Buffer(*device, DType::float32, 0).data(), nullptr);
    EXPECT_TRUE(Array<int>(*device, 0).host().empty());
}

TEST_P(BufferTest, MatricesAreCutIntoRowsAndColumns) {
    Matrix matrix(*device, DType::float32, 3, 4);
    for (int r = 0; r < 3; ++r)
        for (int c = 0; c < 4; ++c) matrix.view().row<float>(r)[c] = float(10 * r + c);
    const ConstRows view = matrix;
    EXPECT_EQ(view.slice(1, 2).row<float>(1)[3], 23);
    EXPECT_EQ(view.columns(1, 2).row<float>(2)[0], 21);
    EXPECT_EQ(view.columns(1, 2).row<float>(2).size(), 2U);
    EXPECT_FALSE(view.columns(1, 2).contiguous());
    EXPECT_TRUE(view.slice(1, 1).columns(1, 2).contiguous());
    EXPECT_THROW((void)view.row<double>(0), Error);
    EXPECT_THROW(with_real(DType::int32, [](auto) {}), Error);
}

// The second request of a size gets the first one's memory: that is what the pool is for.
TEST(CpuMemory, ReleasedMemoryIsHandedOutAgain) {
    const auto device = make_cpu_device(1);
    const void* first = Buffer(*device, DType::float32, 1000).data();
    EXPECT_EQ(Buffer(*device, DType::float32, 990).data(), first);
}

INSTANTIATE_TEST_SUITE_P(Devices, BufferTest, testing::ValuesIn(device_names()));

}  // namespace
}  // namespace expar
