#include "expar/comm/cost_model.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace expar {
namespace {

TEST(CostModelTest, SegmentsMeetEveryPointAndTheLastGoesOn) {
    const std::vector<CostPoint> points = {{256, 2e-6}, {1024, 3e-6}, {65536, 40e-6}, {1048576, 900e-6}};
    const ExchangeCost cost{"native", segments_through(points)};
    for (const CostPoint& point : points) EXPECT_NEAR(cost.seconds(double(point.bytes)), point.seconds, 1e-15);
    EXPECT_NEAR(cost.seconds((1024 + 65536) / 2.0), (3e-6 + 40e-6) / 2, 1e-15);
    EXPECT_NEAR(cost.seconds(2 * 1048576 - 65536), 2 * 900e-6 - 40e-6, 1e-15);
    EXPECT_LT(cost.seconds(0), 2e-6);
}

TEST(CostModelTest, MoreBytesAreNeverFaster) {
    const std::vector<CostPoint> points = {{100, 5e-6}, {200, 3e-6}, {400, 4e-6}, {800, 9e-6}};
    const ExchangeCost cost{"native", segments_through(points)};
    double before = 0;
    for (int bytes = 0; bytes < 1600; bytes += 10) {
        EXPECT_GE(cost.seconds(bytes), before);
        before = cost.seconds(bytes);
    }
    EXPECT_DOUBLE_EQ(cost.seconds(400), 5e-6);
}

TEST(CostModelTest, OnePointIsEverything) {
    const ExchangeCost cost{"native", segments_through(std::vector<CostPoint>{{512, 1e-6}})};
    EXPECT_EQ(cost.seconds(0), 1e-6);
    EXPECT_EQ(cost.seconds(1e9), 1e-6);
    EXPECT_THROW((void)segments_through({}), Error);
}

CostModel model() {
    return {{{"native", {{0, 10e-6, 1e-10}}},
             {"bruck", {{0, 2e-6, 8e-10}, {4096, 1e-6, 2e-9}}},
             {"window", {{0, 20e-6, 3e-10}}},
             {"window lent", {{0, 1e-6, 5e-11}}}}};
}

TEST(CostModelTest, TheLeastTimeIsChosen) {
    EXPECT_EQ(model().best(100, false).kind, "bruck");
    EXPECT_DOUBLE_EQ(model().best(100, false).predicted_seconds, 2e-6 + 100 * 8e-10);
    EXPECT_EQ(model().best(1e6, false).kind, "native");
    EXPECT_EQ(model().best(1e6, true).kind, "window");  // from memory that it has lent
    EXPECT_DOUBLE_EQ(model().best(1e6, true).predicted_seconds, 1e-6 + 1e6 * 5e-11);
    EXPECT_EQ(model().seconds("node", 100), std::nullopt);
    EXPECT_DOUBLE_EQ(model().seconds("native", 1000).value(), 10e-6 + 1000 * 1e-10);
    EXPECT_THROW((void)CostModel().best(1, false), Error);
}

TEST(CostModelTest, AFileHoldsWhatWasPut) {
    CostFile file;
    file.put("2 nodes of 4, a processor", model());
    file.put("1 node of 2", {{{"spread", {{0, 1.25e-6, 0}}}}});
    file.put("1 node of 2", {{{"spread", {{0, 2.5e-6, 0}}}}});
    const CostFile read(file.text());
    EXPECT_EQ(read.text(), file.text());
    ASSERT_NE(read.find("2 nodes of 4, a processor"), nullptr);
    EXPECT_EQ(read.find("3 nodes"), nullptr);
    EXPECT_EQ(read.find("1 node of 2")->seconds("spread", 77), 2.5e-6);
    for (const double bytes : {0.0, 5000.0, 1e7})
        for (const char* kind : {"native", "bruck", "window", "window lent"})
            EXPECT_NEAR(read.find("2 nodes of 4, a processor")->seconds(kind, bytes).value(),
                        model().seconds(kind, bytes).value(), 1e-5 * model().seconds(kind, bytes).value());
}

TEST(CostModelTest, ADamagedLineIsNamed) {
    CostFile file;
    file.put("1 node of 2", model());
    std::string text = file.text();
    text.replace(text.find("  alpha"), 7, "  alpah");
    try {
        const CostFile read(text);
        FAIL() << "expected an Error";
    } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).find("cost model, line 5: '"), 0u) << error.what();
    }
    EXPECT_THROW(CostFile("  0 bytes  alpha 1 s  beta 1 s/byte  native\n"), Error);  // below no title
    EXPECT_THROW(CostFile("[a]\n -1 bytes  alpha 1 s  beta 1 s/byte  native\n"), Error);
}

}  // namespace
}  // namespace expar
