#include "expar/comm/rank_status.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <thread>

#include "expar/comm/communicator.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::TemporaryFolder;
using testing_support::write_text;

StatusSnapshot only(const std::filesystem::path& folder) {
    const auto statuses = read_statuses(folder);
    return statuses.size() == 1 ? statuses.front() : StatusSnapshot{};
}

void sleep_seconds(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

TEST(RankStatusTest, AFileTellsWhatTheRankDoes) {
    const TemporaryFolder folder;
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 2, 4));
    EXPECT_EQ(only(folder / "status").step, -1);
    status.set_step(7);
    status.enter("experts", 3);
    StatusSnapshot seen = only(folder / "status");
    EXPECT_EQ(seen.rank, 2);
    EXPECT_EQ(seen.ranks, 4);
    EXPECT_EQ(seen.process, getpid());
    EXPECT_EQ(seen.step, 7);
    EXPECT_EQ(seen.phase, "experts");
    EXPECT_EQ(seen.layer, 3);
    EXPECT_FALSE(seen.waiting);
    EXPECT_EQ(seen.end, RankEnd::none);

    status.begin_wait("dispatch", 1, "rank 3 (480 rows)");
    seen = only(folder / "status");
    EXPECT_TRUE(seen.waiting);
    EXPECT_EQ(seen.waiting_phase, "dispatch");
    EXPECT_EQ(seen.waiting_layer, 1);
    EXPECT_EQ(seen.awaited, "rank 3 (480 rows)");
    EXPECT_EQ(seen.phase, "experts");
    status.end_wait();
    EXPECT_FALSE(only(folder / "status").waiting);

    status.leave();
    status.fail("too late");
    EXPECT_EQ(only(folder / "status").end, RankEnd::clean);
    EXPECT_EQ(only(folder / "status").failure, "");
}

TEST(RankStatusTest, ItsHeartBeatsWhileTheRankIsBusy) {
    const TemporaryFolder folder;
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 0, 1));
    const double first = only(folder / "status").heartbeat;
    for (int i = 0; i < 1000 && only(folder / "status").heartbeat == first; ++i) sleep_seconds(0.01);
    EXPECT_GT(only(folder / "status").heartbeat, first);
}

TEST(RankStatusTest, WhatIsLongerThanItsPlaceIsCut) {
    const TemporaryFolder folder;
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 0, 1));
    status.enter(std::string(1000, 'p'));
    status.begin_wait(std::string(1000, 'w'), 0, std::string(5000, 'a'));
    status.fail(std::string(9000, 'f'));
    const StatusSnapshot seen = only(folder / "status");
    EXPECT_EQ(seen.phase, std::string(48, 'p'));
    EXPECT_EQ(seen.waiting_phase, std::string(48, 'w'));
    EXPECT_EQ(seen.awaited, std::string(384, 'a'));
    EXPECT_EQ(seen.failure, std::string(1536, 'f'));
    EXPECT_EQ(std::filesystem::file_size(folder / "status" / "rank-00000"), 4096u);
}

TEST(RankStatusTest, NotOpenItDoesNothing) {
    const TemporaryFolder folder;
    write_text(folder / "file", "");
    RankStatus status;
    EXPECT_FALSE(status.open(folder / "file", 0, 1));
    status.set_step(1);
    status.enter("x");
    status.begin_wait("x", 0, "y");
    status.end_wait();
    status.leave();
    EXPECT_EQ(status.last_words("a line"), "a line");
    EXPECT_EQ(status.name(3), "rank 3: ");
}

// Phase, layer and step always change together; a reader must never see a mixture.
TEST(RankStatusTest, AStateIsSeenWhole) {
    const TemporaryFolder folder;
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 0, 1));
    std::atomic<bool> over = false;
    std::thread writer([&] {
        for (int i = 0; !over; ++i) {
            status.begin_wait(std::string(40, char('a' + i % 26)), i % 26, "");
            std::this_thread::sleep_for(std::chrono::microseconds(20));
        }
    });
    for (int i = 0; i < 2000; ++i) {
        const StatusSnapshot seen = only(folder / "status");
        if (seen.waiting) {
            EXPECT_EQ(seen.waiting_phase, std::string(40, char('a' + seen.waiting_layer)));
        }
    }
    over = true;
    writer.join();
}

TEST(RankStatusTest, AKilledProcessLeavesWhatItDidLast) {
    const TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) {
        RankStatus status;
        if (!status.open(folder / "status", 0, 1)) _exit(1);
        status.set_step(5);
        status.enter("combine", 2);
        raise(SIGKILL);
    }
    int how = 0;
    ASSERT_EQ(waitpid(child, &how, 0), child);
    ASSERT_TRUE(WIFSIGNALED(how));
    const std::string line = describe_end(read_statuses(folder / "status"));
    EXPECT_TRUE(contains(line, "rank 0: step 5, combine, layer 2")) << line;
}

TEST(ReadStatusesTest, DamagedAndForeignFilesArePassedOver) {
    const TemporaryFolder folder;
    EXPECT_TRUE(read_statuses(folder / "none").empty());
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 1, 3));
    write_text(folder / "status" / "rank-00000", "short");
    write_text(folder / "status" / "rank-00002", std::string(4096, '\xff'));
    write_text(folder / "status" / "rank-", std::string(4096, 'x'));
    write_text(folder / "status" / "hang", "rank 0: waited\n");
    EXPECT_EQ(only(folder / "status").rank, 1);
}

// The format alone is right: numbers and texts may be anything, and must neither crash nor reach a terminal raw.
TEST(ReadStatusesTest, ATextOfADamagedFileIsPrintable) {
    const TemporaryFolder folder;
    RankStatus status;
    ASSERT_TRUE(status.open(folder / "status", 0, 1));
    status.enter("bell\a\x1b[2J\n");
    EXPECT_EQ(only(folder / "status").phase, "bell??[2J?");
    std::string file = "expar-status-1\n" + std::string(1, '\0');
    file += std::string("\0\0\0\0\1\0\0\0", 8) + std::string(4096 - 24, '\x7f');
    status.leave();
    write_text(folder / "other", "");
    std::filesystem::create_directory(folder / "damaged");
    write_text(folder / "damaged" / "rank-00000", file);
    const std::string line = describe_end(read_statuses(folder / "damaged"));
    EXPECT_TRUE(contains(line, "????")) << line;
    for (const char c : line) EXPECT_TRUE(c >= ' ' && c <= '~') << line;
}

TEST(ClearStatusesTest, RemovesWhatEarlierAttemptsLeft) {
    const TemporaryFolder folder;
    clear_statuses(folder / "status");
    {
        RankStatus status;
        ASSERT_TRUE(status.open(folder / "status", 3, 4));
    }
    write_text(folder / "status" / "hang", "x");
    write_text(folder / "status" / "notes", "x");
    clear_statuses(folder / "status");
    EXPECT_TRUE(read_statuses(folder / "status").empty());
    EXPECT_FALSE(std::filesystem::exists(folder / "status" / "hang"));
    EXPECT_TRUE(std::filesystem::exists(folder / "status" / "notes"));
}

// Ranks that share the files of a folder on this node, in step 4. The last one is the troublesome one.
class StatusOnRanksTest : public testing::Test {
protected:
    StatusOnRanksTest() {
        if (me == 0) folder.emplace();
        path = world.broadcast(me == 0 ? (*folder / "status").string() : "", 0);
        opened = status.open(path, me, world.size());
        status.set_step(4);
        world.barrier();
    }
    ~StatusOnRanksTest() override { world.barrier(); }

    // Rank 0 gives up after 1.5 s; the others wait until the last one comes after all.
    std::string line_of_rank_0() {
        const Communicator impatient(MPI_COMM_WORLD, {me == 0 ? 1.5 : 60, {}, &status});
        std::string line;
        if (me == world.size() - 1) be_late();
        try {
            impatient.barrier({"dispatch", 2});
        } catch (const TimeoutError& error) {
            line = error.what();
        }
        world.barrier();
        return line;
    }

    Communicator world{MPI_COMM_WORLD};
    int me = world.rank();
    std::optional<TemporaryFolder> folder;
    std::string path;
    RankStatus status;
    bool opened = false;
    std::function<void()> be_late;
};

TEST_F(StatusOnRanksTest, ALongWaitIsToldAndItsEndToo) {
    ASSERT_TRUE(opened);
    int received = 0, asked = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_Irecv(&received, 1, MPI_INT, me, 0, world.mpi(), &request);
    // Asked for the second time, it has been told once.
    const auto outstanding = [&] {
        if (++asked != 2) return "myself (1 row)";
        const auto statuses = read_statuses(path);
        const auto mine = std::ranges::find(statuses, me, &StatusSnapshot::rank);
        EXPECT_TRUE(mine->waiting);
        EXPECT_EQ(mine->step, 4);
        EXPECT_EQ(mine->waiting_phase, "combine");
        EXPECT_EQ(mine->waiting_layer, 2);
        EXPECT_EQ(mine->awaited, "myself (1 row)");
        MPI_Send(&asked, 1, MPI_INT, me, 0, world.mpi());
        return "myself (1 row)";
    };
    wait_all({&request, 1}, {60, {}, &status}, {"combine", 2}, me, outstanding);
    EXPECT_EQ(received, 2);
    const auto statuses = read_statuses(path);
    EXPECT_FALSE(std::ranges::find(statuses, me, &StatusSnapshot::rank)->waiting);
}

TEST_F(StatusOnRanksTest, AtTheDeadlineTheStoppedRankIsNamed) {
    if (world.size() == 1) GTEST_SKIP() << "needs a peer";
    be_late = [this] {
        status.enter("experts", 1);
        const pid_t me_stopped = getpid(), child = fork();
        if (child == 0) {
            sleep(4);
            kill(me_stopped, SIGCONT);
            _exit(0);
        }
        raise(SIGSTOP);
        waitpid(child, nullptr, 0);
    };
    const std::string line = line_of_rank_0();
    if (me != 0) return;
    const int last = world.size() - 1;
    EXPECT_EQ(line.rfind("rank 0: step 4, dispatch, layer 2: waited 1.5 s for all ranks to enter", 0), 0u) << line;
    EXPECT_TRUE(contains(line, concat("; rank ", last, " shows no sign of life for 1."))) << line;
    EXPECT_TRUE(contains(line, ": step 4, experts, layer 1 (process ")) << line;
    for (int other = 0; other < last; ++other) EXPECT_FALSE(contains(line, concat("; rank ", other, " "))) << line;
    EXPECT_TRUE(std::filesystem::exists(path + "/hang"));
    EXPECT_EQ(line.rfind(describe_end(read_statuses(path)), 0), 0u) << line;
}

TEST_F(StatusOnRanksTest, AtTheDeadlineTheRankThatDoesSomethingElseIsNamed) {
    if (world.size() == 1) GTEST_SKIP() << "needs a peer";
    be_late = [this] {
        status.enter("experts", 1);
        sleep_seconds(3);
    };
    const std::string line = line_of_rank_0();
    if (me != 0) return;
    const std::string expected =
        concat("; rank ", world.size() - 1, " does not wait: step 4, experts, layer 1, for 1.");
    EXPECT_TRUE(contains(line, expected)) << line;
    EXPECT_FALSE(contains(line, "no sign of life")) << line;
}

TEST_F(StatusOnRanksTest, AStuckCallIsToldAndReportedWithTheStep) {
    std::atomic<bool> reported = false;
    std::string seen;
    const auto report = [&](const std::string& line) {
        seen = line;
        reported = true;
    };
    if (me == 0) {
        const StuckCallWatch watch({0.05, report, &status}, {"migration", 2}, 7, "MPI_Win_allocate");
        EXPECT_EQ(read_statuses(path).at(0).awaited, "MPI_Win_allocate");
        while (!reported) sleep_seconds(0.001);
        EXPECT_EQ(seen.rfind("rank 0: step 4, migration, layer 2: waited 0.1 s in MPI_Win_allocate", 0), 0u) << seen;
    }
    EXPECT_FALSE(read_statuses(path).at(0).waiting && me == 0);
}

}  // namespace
}  // namespace expar
