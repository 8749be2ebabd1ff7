#include "run_folder.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "expar/store/partial_file.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;

class RunFolderTest : public testing::Test {
protected:
    RunFolderTest() : path(world.broadcast((folder / "runs/one").string(), 0)) {}
    Communicator world{MPI_COMM_WORLD};
    TemporaryFolder folder;
    std::string path;
};

TEST_F(RunFolderTest, IsMadeOnceAndNeverAgain) {
    EXPECT_EQ(create_run_folder(path + "/", world).root, path);
    const auto complaint = complaint_of<UserError>([this] { (void)create_run_folder(path, world); });
    EXPECT_NE(complaint.find("exists already"), std::string::npos) << complaint;
    world.barrier();
}

TEST_F(RunFolderTest, FindsTheLastCheckpoint) {
    const RunFolder run{path};
    const auto find = [&] { (void)find_checkpoint(run.root); };
    if (world.rank() != 0) return;
    EXPECT_NE(complaint_of<UserError>(find).find("no such run"), std::string::npos);
    std::filesystem::create_directories(run.root);
    EXPECT_NE(complaint_of<UserError>(find).find("holds no checkpoints"), std::string::npos);
    for (const int step : {50, 999999, 1000000, 7}) replace_file(run.checkpoint(step), "");
    replace_file(run.checkpoint(2000000).string() + ".partial", "");
    EXPECT_EQ(find_checkpoint(run.root), run.checkpoint(1000000));
    EXPECT_EQ(run.checkpoint(50).filename(), "step-000050.h5");
    EXPECT_EQ(find_checkpoint(run.checkpoint(50)), run.checkpoint(50));
}

}  // namespace
}  // namespace expar::cli
