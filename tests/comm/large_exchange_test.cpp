#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "expar/comm/exchange.hpp"

namespace expar {
namespace {

/// Gigabytes of addresses over a few megabytes of memory: the same pages, again and again.
class Folded {
public:
    static constexpr std::size_t page_bytes = std::size_t(16) << 20;

    explicit Folded(std::size_t bytes) : bytes_((bytes + page_bytes - 1) / page_bytes * page_bytes) {
        const int file = memfd_create("folded", 0);
        if (file < 0 || ftruncate(file, page_bytes) != 0) throw Error("no memory file");
        void* base = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (base == MAP_FAILED) throw Error("no addresses");
        data_ = static_cast<std::byte*>(base);
        for (std::size_t at = 0; at < bytes_; at += page_bytes)
            if (mmap(data_ + at, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) == MAP_FAILED)
                throw Error("no mapping");
        close(file);
    }
    ~Folded() { munmap(data_, bytes_); }
    Folded(const Folded&) = delete;
    Folded& operator=(const Folded&) = delete;

    [[nodiscard]] void* data() const { return data_; }

private:
    std::size_t bytes_;
    std::byte* data_ = nullptr;
};

class LargeExchangeTest : public testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(All, LargeExchangeTest, testing::ValuesIn(exchange_names()),
                         [](const auto& info) { return info.param; });

// A little over 2 GiB from rank 0 to rank 1, in rows of 1 MiB, then one row more, which starts beyond what an int of
// bytes reaches.
TEST_P(LargeExchangeTest, MoreThanTwoGibibytesGoFromOneRankToAnother) {
    const Communicator world(MPI_COMM_WORLD);
    ASSERT_EQ(world.size(), 2);
    const int rows = 2064, cols = 1 << 18;
    const bool sender = world.rank() == 0;
    const Folded memory(std::size_t(rows + 1) * cols * sizeof(float));
    const Rows all(memory.data(), rows + 1, cols, DType::float32);
    for (int row = 0; row < 16; ++row) std::ranges::fill(all.row<float>(row), sender ? float(row) : -1.0f);

    // Rank 1 keeps the last row for itself: it lies after all that rank 0 sends.
    std::vector<float> own(cols, 99.0f);
    const ConstRows send = sender ? ConstRows(all.slice(0, rows)) : ConstRows(own.data(), 1, cols, DType::float32);
    const RowCounts counts = sender ? RowCounts{{0, rows}, {0, 0}} : RowCounts{{0, 1}, {rows, 1}};
    const auto exchange = make_exchange(GetParam(), world);
    exchange->start(send, sender ? Rows() : all, counts, {"exchange"}).finish();

    EXPECT_EQ(exchange->traffic().total_rows(), sender ? 2064 : 0);
    if (sender) return;
    for (int row = 0; row < 16; ++row) {
        const float first = all.row<float>(row)[0], last = all.row<float>(row)[cols - 1];
        if (row == rows % 16) continue;  // shares its memory with the row that rank 1 kept
        EXPECT_EQ(first, float(row));
        EXPECT_EQ(last, float(row));
    }
}

}  // namespace
}  // namespace expar
