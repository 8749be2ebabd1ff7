#include "routing_file.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

// Layers 1 and 3 of four have three experts.
ModelOptions model_of(int layers) {
    ModelOptions model;
    model.layers = layers;
    model.moe_every = 2;
    model.experts = 3;
    return model;
}

StepReport report_of(int step) {
    StepReport report;
    report.step = step;
    report.tokens = 100 + step;
    for (int layer = 0; layer < 2; ++layer) {
        RouterStatistics& router = report.routers.emplace_back(3);
        router.tokens = 10;
        router.choices = {step, 20 * layer, 7};
        router.dropped = layer;
        router.entropy = 5 * (layer + 1);
    }
    return report;
}

void write(const std::filesystem::path& path, int first, int last) {
    RoutingFile file(path, model_of(4), first - 1);
    EXPECT_EQ(file.notice(), "");
    for (int step = first; step <= last; ++step) file.add(report_of(step));
    file.close();
}

TEST(RoutingFile, HasTheLoadsOfEveryLayerExpertAndStep) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "routing.h5";
    write(path, 1, 3);
    const Hdf5File file = Hdf5File::open(path);
    EXPECT_EQ(file.text_attribute("", "format"), "expar-routing-1");
    EXPECT_EQ(file.integer_attribute("", "experts"), 3);
    EXPECT_EQ(file.integer_attribute("", "top_k"), 2);
    std::vector<std::int32_t> layer(2), step(3), loads(18), dropped(6), tokens(3);
    std::vector<float> entropy(6);
    file.read("layer", layer);
    file.read("step", step);
    file.read("loads", loads);
    file.read("dropped", dropped);
    file.read("entropy", entropy);
    file.read("tokens", tokens);
    EXPECT_EQ(layer, (std::vector{1, 3}));
    EXPECT_EQ(step, (std::vector{1, 2, 3}));
    EXPECT_EQ(loads, (std::vector{1, 0, 7, 1, 20, 7, 2, 0, 7, 2, 20, 7, 3, 0, 7, 3, 20, 7}));
    EXPECT_EQ(dropped, (std::vector{0, 1, 0, 1, 0, 1}));
    EXPECT_EQ(entropy, (std::vector{0.5F, 1.0F, 0.5F, 1.0F, 0.5F, 1.0F}));
    EXPECT_EQ(tokens, (std::vector{101, 102, 103}));
}

TEST(RoutingFile, OfARunThatGoesOnLosesWhatIsBehindItsCheckpoint) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "routing.h5";
    write(path, 1, 150);
    write(path, 101, 102);
    const Hdf5File file = Hdf5File::open(path);
    ASSERT_EQ(file.shape("step"), Hdf5File::Shape{102});
    std::vector<std::int32_t> step(102);
    file.read("step", step);
    for (int i = 0; i < 102; ++i) EXPECT_EQ(step[i], i + 1);
}

TEST(RoutingFile, WritesOutAfter64Steps) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "routing.h5";
    RoutingFile file(path, model_of(4), 0);
    for (int step = 1; step <= 63; ++step) file.add(report_of(step));
    const auto before = std::filesystem::file_size(path);
    file.add(report_of(64));
    EXPECT_GT(std::filesystem::file_size(path), before);
    file.close();
    file.flush();  // a run that is finished may still save a checkpoint
}

TEST(RoutingFile, ThatIsDamagedIsSetAsideAndNamed) {
    const testing_support::TemporaryFolder folder;
    const auto path = folder / "routing.h5";
    testing_support::write_text(path, "no HDF5");
    RoutingFile file(path, model_of(4), 5);
    EXPECT_EQ(file.notice(), path.string() + ": not an HDF5 file; set aside as routing.h5.set-aside");
    file.add(report_of(6));
    file.close();
    EXPECT_EQ(Hdf5File::open(path).shape("step"), Hdf5File::Shape{1});
    EXPECT_TRUE(std::filesystem::exists(folder / "routing.h5.set-aside"));
}

}  // namespace
}  // namespace expar::cli
