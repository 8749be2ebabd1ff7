#include "resume.hpp"

#include <gtest/gtest.h>

#include <set>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar::cli {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

// Gives the field a value that it does not have.
void change(const Field& field) {
    if (const auto* truth = std::get_if<bool*>(&field.value))
        **truth = !**truth;
    else
        field.set("77");
}

TEST(Resume, RefusesWhatWouldMakeItAnotherRunAndNothingElse) {
    RunConfig base;
    int refused = 0;
    for (std::size_t g = 0; g < field_groups(base).size(); ++g)
        for (std::size_t f = 0; f < field_groups(base)[g].fields.size(); ++f) {
            RunConfig wanted = base;
            const Field field = field_groups(wanted)[g].fields[f];
            change(field);
            const auto complaint = complaint_of<UserError>([&] { expect_same_run(base, wanted); });
            if (field.lifetime == Lifetime::run) {
                EXPECT_TRUE(complaint.starts_with(concat(field.flag(), ": ", field.text(), ", but"))) << complaint;
                ++refused;
            } else
                EXPECT_EQ(complaint, "") << field.name;
        }
    EXPECT_GT(refused, 40);
    const std::set<std::string_view> free = {
        "ep",       "steps",      "ranks_per_node", "threads",   "timeout",
        "exchange", "dispatcher", "combine",        "placement", "validate",
        "text",     "log_every",  "record_batches", "keep",      "checkpoint_every"};
    for (const auto& group : field_groups(base))
        for (const auto& field : group.fields)
            EXPECT_TRUE(!free.contains(field.name) || field.lifetime != Lifetime::run) << field.name;
}

TEST(Resume, KnowsWhenThereIsNothingLeftToDo) {
    const TemporaryFolder folder;
    const RunFolder run{folder / "."};
    EXPECT_FALSE(is_finished(run, 8, 9));
    EXPECT_TRUE(is_finished(run, 9, 8));
    EXPECT_FALSE(is_finished(run, 9, 9)) << "the summary is missing";
    for (const char* unfinished :
         {"", "[]", "{\"steps\": 8}", "{\"steps\": 9", "{\"steps\": 9, \"stopped_by\": \"SIGUSR1\"}"}) {
        write_text(run.summary(), unfinished);
        EXPECT_FALSE(is_finished(run, 9, 9)) << unfinished;
    }
    for (const char* finished : {"{\"steps\": 9}", "{\"steps\": 9, \"stopped_by\": null}"}) {
        write_text(run.summary(), finished);
        EXPECT_TRUE(is_finished(run, 9, 9)) << finished;
    }
}

TEST(Resume, SetsNewerCheckpointsAside) {
    const TemporaryFolder folder;
    const RunFolder run{folder / "."};
    std::filesystem::create_directories(run.checkpoints());
    for (const int step : {2, 4, 6})
        for (const char* ending : {"", ".digest"}) write_text(run.checkpoint(step).string() + ending, "x");
    set_aside_newer(run, 4);
    for (const int step : {2, 4, 6})
        for (const char* ending : {"", ".digest"}) {
            const std::string name = run.checkpoint(step).string() + ending;
            EXPECT_EQ(std::filesystem::exists(name), step <= 4) << name;
            EXPECT_EQ(std::filesystem::exists(name + ".set-aside"), step > 4) << name;
        }
}

TEST(Resume, SetsADigestAsideByTheNameOfItsCheckpoint) {
    const TemporaryFolder folder;
    const RunFolder run{folder / "."};
    std::filesystem::create_directories(run.checkpoints());
    const std::string checkpoint = run.checkpoint(6).string();
    write_text(checkpoint, "of a run that was killed before the digest");
    set_aside_newer(run, 4);
    for (const char* ending : {"", ".digest"}) write_text(checkpoint + ending, "x");
    set_aside_newer(run, 4);
    EXPECT_TRUE(std::filesystem::exists(checkpoint + ".set-aside-2"));
    EXPECT_TRUE(std::filesystem::exists(checkpoint + ".digest.set-aside-2"));
    EXPECT_FALSE(std::filesystem::exists(checkpoint + ".digest.set-aside"));
}

TEST(Resume, SaysWhatToTypeInAShell) {
    EXPECT_TRUE(resume_command("run", 3).starts_with("mpirun -n 3 "));
    EXPECT_TRUE(resume_command("run", 3).ends_with(" train --resume --out run"));
    EXPECT_FALSE(resume_command("run", 1).starts_with("mpirun"));
    EXPECT_TRUE(resume_command("my 'run'", 1).ends_with(" --out 'my '\\''run'\\'''"));
}

}  // namespace
}  // namespace expar::cli
