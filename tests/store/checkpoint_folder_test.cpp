#include "expar/store/checkpoint_folder.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "expar/base/error.hpp"
#include "expar/base/read_file.hpp"
#include "expar/store/digest.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

namespace fs = std::filesystem;
using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

class CheckpointFolderTest : public testing::Test {
protected:
    void add(int step, bool complete = true) const {
        write_text(checkpoint_path(path, step), "");
        if (complete) write_text(digest_path(checkpoint_path(path, step)), "");
    }
    [[nodiscard]] std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(path)) names.push_back(entry.path().filename().string());
        std::ranges::sort(names);
        return names;
    }
    [[nodiscard]] std::vector<int> steps() const {
        std::vector<int> steps;
        for (const auto& found : list_checkpoints(path)) steps.push_back(found.step);
        return steps;
    }
    [[nodiscard]] fs::path pending_digest(int step) const {
        return digest_path(checkpoint_path(path, step)).string() + ".partial";
    }
    [[nodiscard]] static std::string content(const fs::path& file) { return read_file(file, 1 << 20); }
    TemporaryFolder folder;
    fs::path path = folder / "";
};

TEST_F(CheckpointFolderTest, NamesAFileByItsStep) {
    EXPECT_EQ(checkpoint_path("run", 50), "run/step-000050.h5");
    EXPECT_EQ(step_name(1000000), "step-1000000");
}

TEST_F(CheckpointFolderTest, ListsByStepAndNothingElse) {
    for (const int step : {1000000, 50, 999999}) add(step, step != 50);
    for (const char* name : {"step-000007.h5.partial", "step-000008.h5.set-aside", "step-.h5", "step-+1.h5",
                             "step--1.h5", "step-9x.h5", "step-99999999999.h5", "other.h5"})
        write_text(path / name, "");
    EXPECT_EQ(steps(), (std::vector{50, 999999, 1000000}));
    const auto found = list_checkpoints(path);
    EXPECT_FALSE(found[0].has_digest);
    EXPECT_TRUE(found[2].has_digest);
    EXPECT_EQ(found[1].path, checkpoint_path(path, 999999));
    EXPECT_TRUE(list_checkpoints(path / "absent").empty());
}

TEST_F(CheckpointFolderTest, SaysWhatItCannotList) {
    const fs::path file = path / "file";
    write_text(file, "");
    EXPECT_EQ(complaint_of<UserError>([&] { (void)list_checkpoints(file); }),
              file.string() + ": cannot be listed: Not a directory");
    EXPECT_THROW(prune_checkpoints(file, 1), UserError);
    EXPECT_THROW(finish_interrupted_saves(file), UserError);
}

TEST_F(CheckpointFolderTest, FinishesASaveWhoseDigestLayWholeBesideIt) {
    for (const int step : {10, 20, 30}) add(step, step == 10);
    const std::string whole = to_text(Digest{4, {{0, 4, 7, "value/x"}}});
    for (const int step : {10, 20, 40, 50}) write_text(pending_digest(step), whole);
    write_text(pending_digest(30), whole.substr(0, whole.size() / 2));
    write_text(checkpoint_path(path, 40).string() + ".partial", "");
    finish_interrupted_saves(path);
    EXPECT_EQ(steps(), (std::vector{10, 20, 30, 40}));
    const auto found = list_checkpoints(path);
    EXPECT_TRUE(found[0].has_digest);
    EXPECT_EQ(content(digest_path(found[0].path)), "");  // it was complete before
    EXPECT_TRUE(found[1].has_digest);
    EXPECT_FALSE(found[2].has_digest);
    EXPECT_TRUE(found[3].has_digest);
}

// Killed between the end of the earlier checkpoint, which is that of its digest, and the renaming of its successor.
TEST_F(CheckpointFolderTest, FinishesASaveInThePlaceOfAnEarlierOne) {
    const fs::path checkpoint = checkpoint_path(path, 20);
    const std::string whole = to_text(Digest{4, {{0, 4, hash_bytes(std::as_bytes(std::span("new!", 4))), "value/x"}}});
    write_text(checkpoint, "old!");
    write_text(checkpoint.string() + ".partial", "new!");
    write_text(pending_digest(20), whole);
    finish_interrupted_saves(path);
    prune_checkpoints(path, 1);
    EXPECT_EQ(names(), (std::vector<std::string>{"step-000020.h5", "step-000020.h5.digest"}));
    EXPECT_EQ(content(checkpoint), "new!");
    EXPECT_NO_THROW(verify_file(checkpoint));
}

TEST_F(CheckpointFolderTest, KeepsTheNewestThatAreComplete) {
    for (const int step : {10, 20, 30, 40}) add(step, step != 30);
    prune_checkpoints(path, 0);
    prune_checkpoints(path, 3);
    EXPECT_EQ(steps(), (std::vector{10, 20, 30, 40}));
    prune_checkpoints(path, 4);
    EXPECT_EQ(steps(), (std::vector{10, 20, 30, 40}));
    prune_checkpoints(path, 2);  // 30 is newer than the oldest that is kept: it will be named when it is asked for
    EXPECT_EQ(steps(), (std::vector{20, 30, 40}));
    prune_checkpoints(path, 1);
    EXPECT_EQ(names(), (std::vector<std::string>{"step-000040.h5", "step-000040.h5.digest"}));
}

TEST_F(CheckpointFolderTest, KeepsAllWhenNoneIsComplete) {
    for (const int step : {10, 20}) add(step, false);
    prune_checkpoints(path, 1);
    EXPECT_EQ(steps(), (std::vector{10, 20}));
}

TEST_F(CheckpointFolderTest, RemovesWhatAnInterruptedSaveLeft) {
    add(10);
    const std::vector<std::string> mine = {"notes.partial", "step-000010.h5", "step-000010.h5.digest",
                                           "step-x.h5.partial"};
    for (const auto& name :
         {"step-000020.h5.partial", "step-000020.h5.digest.partial", "notes.partial", "step-x.h5.partial"})
        write_text(path / name, "");
    prune_checkpoints(path, 0);
    EXPECT_EQ(names(), mine);
}

}  // namespace
}  // namespace expar
