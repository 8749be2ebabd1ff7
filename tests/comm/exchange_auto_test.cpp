#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "exchange_case.hpp"
#include "expar/base/read_file.hpp"
#include "expar/comm/cost_model.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;

class ExchangeAutoTest : public testing::Test {
protected:
    ~ExchangeAutoTest() override {
        world.barrier();
        if (world.rank() == 0) fs::remove(path);
    }
    // The title of the only section says what it was measured for.
    void put(CostModel model) const {
        if (world.rank() == 0) {
            const std::string text = content();
            const auto begin = text.find('[') + 1;
            CostFile file;
            file.put(text.substr(begin, text.find("]\n") - begin), std::move(model));
            std::ofstream(path) << file.text();
        }
        world.barrier();
    }
    [[nodiscard]] std::string content() const { return read_file(path, 1 << 20); }

    Communicator world{MPI_COMM_WORLD};
    std::string path = world.broadcast(concat(testing::TempDir(), "costs.", getpid()), 0);
    std::string specification = concat("auto:costs=", path);
};

TEST_F(ExchangeAutoTest, WhatIsMeasuredIsKeptAndReadAgain) {
    (void)make_exchange(specification, world);
    world.barrier();
    const std::string text = content();
    EXPECT_NE(text.find(concat("[1 node of ", world.size(), ", ")), std::string::npos) << text;
    EXPECT_NE(text.find("native"), std::string::npos);
    if (world.size() > 1) {
        for (const char* kind : {"spread", "node", "bruck", "window", "window lent"})
            EXPECT_NE(text.find(concat(" ", kind, "\n")), std::string::npos) << kind;
    }
    world.barrier();
    (void)make_exchange(specification, world);
    world.barrier();
    EXPECT_EQ(content(), text);
    world.barrier();
    if (world.rank() == 0) std::ofstream(path) << "nonsense\n";
    world.barrier();
    (void)make_exchange(specification, world);
    world.barrier();
    EXPECT_NE(content().find("native"), std::string::npos);
}

// Uneven rows, of which each rank knows its own: the busiest decides for all.
TEST_F(ExchangeAutoTest, AllRanksChooseByTheBusiest) {
    if (world.size() == 1) GTEST_SKIP() << "nothing travels";
    (void)make_exchange(specification, world);
    put({{{"bruck", {{0, 1e-6, 1e-9}}}, {"spread", {{0, 3e-6, 1e-10}}}, {"window", {{0, 1, 0}}}}});
    const auto exchange = make_exchange(specification, world);
    for (const int most : {2, 200}) {
        // 12 bytes a row; both kinds would take 3.2 microseconds for 2,222.
        ExchangeCase rows(world, 3, [most](int from, int to) { return from == 0 && to == 1 ? most : 1; });
        rows.start(*exchange).finish();
        EXPECT_EQ(rows.received, rows.expected);
        const double bytes = 12.0 * (most + world.size() - 2);
        EXPECT_EQ(exchange->last_choice().value().kind, bytes < 2222 ? "bruck" : "spread");
        EXPECT_DOUBLE_EQ(exchange->last_choice()->predicted_seconds,
                         bytes < 2222 ? 1e-6 + bytes * 1e-9 : 3e-6 + bytes * 1e-10);
    }
    EXPECT_GT(exchange->traffic().total_rows(), 0);  // of all kinds together
    // What is known is not asked for.
    ExchangeCase rows(world, 3, [](int, int) { return 1; });
    rows.counts.busiest = 1000;
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
    EXPECT_EQ(exchange->last_choice()->kind, "spread");
}

TEST_F(ExchangeAutoTest, ARankThatDoesNotComeIsAnError) {
    if (world.size() == 1) GTEST_SKIP() << "needs a peer";
    (void)make_exchange(specification, world);
    const Communicator impatient(MPI_COMM_WORLD, {.timeout_seconds = 0.3, .on_stuck_call = {}});
    const auto exchange = make_exchange(specification, impatient);
    ExchangeCase rows(world, 2, [](int from, int to) { return 10 + from + to; });
    if (world.rank() != 0) {
        EXPECT_THROW((void)rows.start(*exchange, {"dispatch", 3}), TimeoutError);
    }
    world.barrier();
}

TEST_F(ExchangeAutoTest, NothingTakesThePlaceOfWhatIsNoFile) {
    const auto exchange = make_exchange("auto:costs=/dev/null", world);
    EXPECT_TRUE(fs::is_character_file("/dev/null"));
    ExchangeCase rows(world, 2, [](int, int) { return 1; });
    rows.start(*exchange).finish();
    EXPECT_EQ(rows.received, rows.expected);
}

}  // namespace
}  // namespace expar
