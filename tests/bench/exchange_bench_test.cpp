#include "expar/bench/exchange_bench.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace expar {
namespace {

constexpr DispatchCell cell{.tokens = 12, .hidden = 41, .top_k = 2, .experts = 6, .dtype = "bf16", .warm = true};

/// An exchange that damages one element of the last row that rank 0 receives.
class Damaging : public Exchange {
public:
    Damaging(std::unique_ptr<Exchange> inner, bool here) : Exchange(0), inner_(std::move(inner)), here_(here) {}

    Transfer start(ConstRows send, Rows recv, const RowCounts& counts, Occasion occasion) override {
        inner_->start(send, recv, counts, occasion).finish();
        if (here_ && recv.rows() > 0) static_cast<std::byte*>(recv.data())[recv.bytes() - 1] ^= std::byte(1);
        return {};
    }
    std::shared_ptr<std::byte> lend(std::size_t bytes) override { return inner_->lend(bytes); }
    const Traffic& traffic() const override { return inner_->traffic(); }

private:
    std::unique_ptr<Exchange> inner_;
    bool here_;
};

class ExchangeBenchTest : public testing::Test {
protected:
    ExchangeBenchOptions options(std::vector<std::string> exchanges) const {
        return {.exchanges = std::move(exchanges),
                .topology = discover_topology(world),
                .patience = {.seconds = 0, .at_least = 3}};
    }
    [[nodiscard]] std::vector<BenchRow> bench(const ExchangeBenchOptions& chosen,
                                              const std::string& workload = "uniform") const {
        const auto made = make_workload(workload, {world.size(), cell.tokens, cell.experts, cell.top_k}, 1);
        return bench_exchange(cell, *made, chosen, world);
    }
    Communicator world{MPI_COMM_WORLD};
};

TEST_F(ExchangeBenchTest, EveryKindMovesEveryRowRightly) {
    for (const std::string workload : {"uniform", "zipf:1.2", "zero-rank"}) {
        if (workload == "zero-rank" && world.size() == 1) continue;
        auto asked = exchange_names();
        asked.push_back("spread:open=1:message=100");
        const auto rows = bench(options(asked), workload);
        ASSERT_EQ(rows.size(), asked.size() + 1);
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const BenchRow& row = rows[i];
            EXPECT_EQ(row.exchange, i < asked.size() ? asked[i] : "MPI_Alltoallv");
            EXPECT_EQ(row.wrong_rows, 0) << row.exchange << ", " << workload;
            EXPECT_EQ(row.rows_delivered, row.moved->total.y1);
            EXPECT_GE(row.time.iterations, 3);
            EXPECT_EQ(row.bound_seconds.has_value(), row.moved->total.y1 > 0);
            EXPECT_EQ(row.wire_bytes_inter, 0);
        }
        // Nothing but the rows goes out.
        EXPECT_EQ(rows.front().bytes_copied, rows.front().moved->total.y1 * cell.hidden * 2);
        EXPECT_EQ(rows.back().bytes_copied, rows.front().bytes_copied);
    }
}

TEST_F(ExchangeBenchTest, SeesOneWrongRow) {
    if (world.size() == 1) GTEST_SKIP() << "nothing travels";
    ExchangeBenchOptions chosen = options({"native"});
    chosen.make_exchange = [](std::string_view name, const Communicator& comm) -> std::unique_ptr<Exchange> {
        return std::make_unique<Damaging>(make_exchange(name, comm), comm.rank() == 0);
    };
    const auto rows = bench(chosen);
    EXPECT_EQ(rows[0].wrong_rows, 1);
    EXPECT_EQ(rows[1].wrong_rows, 0);
}

TEST_F(ExchangeBenchTest, ASlowLinkSetsTheBound) {
    if (world.size() == 1) GTEST_SKIP() << "one node";
    ExchangeBenchOptions chosen = options({"spread"});
    chosen.topology = topology_of(world.size(), 1);
    chosen.link.bytes_per_second = 1;
    for (const BenchRow& row : bench(chosen)) {
        EXPECT_DOUBLE_EQ(row.bound_seconds.value(), double(row.moved->busiest.x1 * cell.hidden * 2));
        EXPECT_GT(row.wire_bytes_inter, 0);
        EXPECT_EQ(row.wire_bytes_intra, 0);
    }
}

}  // namespace
}  // namespace expar
