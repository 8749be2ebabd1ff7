#include "expar/comm/wait.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "expar/comm/communicator.hpp"
#include "rows_of.hpp"

namespace expar {
namespace {

// Work that counts what becomes of it; a receive from this rank itself is done when the test sends.
struct Watched : Transfer::Work {
    Watched(const Communicator& comm, int* place, int* completions) : completions(completions) {
        MPI_Irecv(place, 1, MPI_INT, comm.rank(), 0, comm.mpi(), &request);
    }
    bool advance() override {
        int done = 0;
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done) ++*completions;
        return done != 0;
    }
    [[nodiscard]] std::string outstanding() const override { return "rank 7 (480 rows), rank 9 (12 rows)"; }

    MPI_Request request = MPI_REQUEST_NULL;
    int* completions;
};

class TransferTest : public testing::Test {
protected:
    Transfer start(Occasion occasion = {"test"}) {
        return {std::make_unique<Watched>(comm, &received, &completions), comm.policy(), occasion, comm.rank()};
    }
    void send(int value) { MPI_Send(&value, 1, MPI_INT, comm.rank(), 0, comm.mpi()); }

    Communicator comm{MPI_COMM_WORLD, {.timeout_seconds = 0.3, .on_stuck_call = {}}};
    int received = -1;
    int completions = 0;
};

TEST_F(TransferTest, FinishesOnce) {
    Transfer transfer = start();
    send(5);
    transfer.finish();
    transfer.finish();
    EXPECT_TRUE(transfer.progress());
    EXPECT_EQ(received, 5);
    EXPECT_EQ(completions, 1);
}

TEST_F(TransferTest, NothingToWaitForIsDone) {
    Transfer transfer;
    EXPECT_TRUE(transfer.progress());
    transfer.finish();
    wait_all({}, {}, {"test"}, 0, {});
}

TEST_F(TransferTest, ProgressDoesNotWait) {
    Transfer transfer = start();
    EXPECT_FALSE(transfer.progress());
    send(6);
    while (!transfer.progress()) {
    }
    EXPECT_EQ(received, 6);
    transfer.finish();
    EXPECT_EQ(completions, 1);
}

TEST_F(TransferTest, DestructionFinishes) {
    {
        const Transfer transfer = start();
        send(7);
    }
    EXPECT_EQ(received, 7);
    EXPECT_EQ(completions, 1);
}

TEST_F(TransferTest, AssignmentFinishesWhatItReplaces) {
    Transfer transfer = start();
    send(8);
    transfer = Transfer();
    EXPECT_EQ(received, 8);
    EXPECT_EQ(completions, 1);
}

TEST_F(TransferTest, MovesWithItsWork) {
    Transfer first = start();
    Transfer second = std::move(first);
    send(9);
    second.finish();
    EXPECT_EQ(received, 9);
    EXPECT_EQ(completions, 1);
}

TEST_F(TransferTest, ATimeoutNamesRankPhaseLayerPeersAndCounts) {
    Transfer transfer = start({"dispatch", 3});
    try {
        transfer.finish();
        FAIL() << "expected a TimeoutError";
    } catch (const TimeoutError& error) {
        const std::string line = error.what();
        EXPECT_EQ(line.find(concat("rank ", comm.rank(), ": dispatch, layer 3: waited 0.")), 0u) << line;
        EXPECT_NE(line.find(" s for rank 7 (480 rows), rank 9 (12 rows)"), std::string::npos) << line;
    }
    send(1);  // so that no receive is left open
    EXPECT_EQ(completions, 0);
}

TEST(WaitPolicyTest, AWaitPausesAsThePolicySays) {
    int pauses = 0, polls = 0;
    const WaitPolicy policy{.on_stuck_call = {}, .pause = [&pauses] { ++pauses; }};
    wait_until([&polls] { return ++polls == 4; }, policy, {"test"}, 0, {});
    EXPECT_EQ(pauses, 3);
}

TEST_F(TransferTest, MemoryIsSharedUntilTheRowsHaveMoved) {
    const auto memory = std::make_shared<int>(1);
    Transfer first = start();
    first.keep(memory);
    Transfer second;
    second = std::move(first);
    EXPECT_EQ(memory.use_count(), 2);
    send(5);
    second.finish();
    EXPECT_EQ(memory.use_count(), 1);
    second.keep(memory);
    EXPECT_EQ(memory.use_count(), 1);
}

// MPI may write there for as long as the process lives.
TEST_F(TransferTest, AfterATimeoutMemoryIsKeptForEver) {
    const auto memory = std::make_shared<int>(1);
    {
        Transfer transfer = start();
        transfer.keep(memory);
        EXPECT_THROW(transfer.finish(), TimeoutError);
    }
    EXPECT_EQ(memory.use_count(), 2);
    send(1);
}

TEST_F(TransferTest, DestructionSwallowsATimeout) {
    { const Transfer transfer = start(); }
    EXPECT_EQ(completions, 0);
    send(1);
}

// Its peers may be waiting for what the exception prevents: the error must be seen long before the deadline.
TEST_F(TransferTest, WhileAnExceptionUnwindsDestructionWaitsBriefly) {
    const auto before = std::chrono::steady_clock::now();
    const auto fail = [this] {
        const Transfer transfer(std::make_unique<Watched>(comm, &received, &completions),
                                std::make_shared<const WaitPolicy>(WaitPolicy{600, {}}), {"test"}, comm.rank());
        throw Error("something else went wrong");
    };
    EXPECT_THROW(fail(), Error);
    EXPECT_LT(std::chrono::steady_clock::now() - before, std::chrono::seconds(30));
    EXPECT_EQ(completions, 0);
    send(1);
}

TEST_F(TransferTest, ARequestThatIsDoneAtTheDeadlineIsNotMissed) {
    int place = -1;
    MPI_Request requests[2];
    MPI_Irecv(&received, 1, MPI_INT, comm.rank(), 0, comm.mpi(), &requests[0]);
    MPI_Irecv(&place, 1, MPI_INT, comm.rank(), 1, comm.mpi(), &requests[1]);
    const int value = 3;
    MPI_Send(&value, 1, MPI_INT, comm.rank(), 1, comm.mpi());
    EXPECT_THROW(wait_all(requests, *comm.policy(), {"test"}, 0, [] { return "x"; }), TimeoutError);
    EXPECT_EQ(requests[1], MPI_REQUEST_NULL);  // the list of peers outstanding is read from the requests
    EXPECT_NE(requests[0], MPI_REQUEST_NULL);
    send(1);
    wait_all(requests, *comm.policy(), {"test"}, 0, {});
}

TEST(WaitUntilTest, ReturnsOnceTheFlagIsSeen) {
    int polls = 0;
    wait_until([&] { return ++polls == 1000; }, {}, {"test"}, 0, {});  // beyond the polls that spin
    EXPECT_EQ(polls, 1000);
}

TEST(WaitUntilTest, ATimeoutNamesWhatWasAwaited) {
    const auto never = [] { return false; };
    const auto wait = [&] {
        wait_until(never, WaitPolicy{.timeout_seconds = 0.05, .on_stuck_call = {}}, {"combine", 2}, 4,
                   [] { return "rank 5"; });
    };
    try {
        wait();
        FAIL() << "expected a TimeoutError";
    } catch (const TimeoutError& error) {
        const std::string line = error.what();
        EXPECT_EQ(line.find("rank 4: combine, layer 2: waited 0.1 s for rank 5"), 0u) << line;
    }
}

// Its last look comes after the deadline was seen to have passed: as many polls as fail are enough to succeed.
TEST(WaitUntilTest, WhatIsDoneAtTheDeadlineIsNotMissed) {
    const WaitPolicy at_once{.timeout_seconds = 0, .on_stuck_call = {}};
    int failing = 0, polls = 0;
    EXPECT_THROW(wait_until([&] { return ++failing < 0; }, at_once, {"test"}, 0, [] { return "x"; }), TimeoutError);
    wait_until([&] { return ++polls == failing; }, at_once, {"test"}, 0, {});
    EXPECT_EQ(polls, failing);
}

TEST(WaitUntilTest, WhatThePollThrowsIsSeen) {
    const auto done = []() -> bool { throw Error("no"); };
    EXPECT_THROW(wait_until(done, {}, {"test"}, 0, {}), Error);
}

// A message too large to be sent at once goes on only while its sender is inside MPI.
TEST(WaitUntilTest, DrivesMpiMeanwhile) {
    const Communicator world(MPI_COMM_WORLD);
    if (world.size() == 1) GTEST_SKIP() << "one rank has no peer";
    std::vector<int> values(1 << 20, world.rank());
    const Rows rows(values.data(), 1 << 10, 1 << 10, DType::int32);
    int arrived = 0;
    if (world.rank() == 0) {
        Transfer sending = world.start_send(rows, 1);
        MPI_Request request = MPI_REQUEST_NULL;
        int token = 0;
        // The answer is only looked for where it is made: wait_until alone moves the rows.
        check_mpi(MPI_Irecv(&token, 1, MPI_INT, 1, 1, world.mpi(), &request), "MPI_Irecv");
        wait_until(
            [&] {
                check_mpi(MPI_Request_get_status(request, &arrived, MPI_STATUS_IGNORE), "MPI_Request_get_status");
                return arrived != 0;
            },
            WaitPolicy{.timeout_seconds = 60, .on_stuck_call = {}}, {"test"}, 0, [] { return "rank 1"; });
        check_mpi(MPI_Wait(&request, MPI_STATUS_IGNORE), "MPI_Wait");
        sending.finish();
    } else if (world.rank() == 1) {
        world.start_receive(rows, 0).finish();
        EXPECT_EQ(values.back(), 0);
        check_mpi(MPI_Send(&arrived, 1, MPI_INT, 0, 1, world.mpi()), "MPI_Send");
    }
}

TEST(CheckMpiTest, AFailedCallThrowsWithTheTextOfMpi) {
    check_mpi(MPI_SUCCESS, "MPI_Send");
    try {
        check_mpi(MPI_ERR_COUNT, "MPI_Send");
        FAIL() << "expected an Error";
    } catch (const Error& error) {
        char text[MPI_MAX_ERROR_STRING];
        int length = 0;
        MPI_Error_string(MPI_ERR_COUNT, text, &length);
        EXPECT_EQ(std::string(error.what()).rfind(concat("MPI_Send: ", text), 0), 0u) << error.what();
        EXPECT_NE(std::string(error.what()).find("wait_test.cpp"), std::string::npos);
    }
}

TEST(CheckMpiTest, AnErrorOfACommunicatorIsThrownAndDoesNotEndTheProcess) {
    const Communicator comm(MPI_COMM_WORLD);
    EXPECT_THROW(check_mpi(MPI_Send(nullptr, 0, MPI_INT, comm.size(), 0, comm.mpi()), "MPI_Send"), Error);
}

TEST(StuckCallWatchTest, ACallThatOutlastsTheDeadlineIsReported) {
    std::atomic<bool> reported = false;
    std::string seen;
    const WaitPolicy policy{0.05, [&](const std::string& line) {
                                seen = line;
                                reported = true;
                            }};
    {
        const StuckCallWatch watch(policy, {"migration", 2}, 1, "MPI_Win_allocate");
        while (!reported) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(seen, "rank 1: migration, layer 2: waited 0.1 s in MPI_Win_allocate");
}

TEST(StuckCallWatchTest, ACallThatReturnsIsNotReported) {
    const WaitPolicy policy{60, [](const std::string& line) { FAIL() << line; }};
    const auto start = std::chrono::steady_clock::now();
    { const StuckCallWatch watch(policy, {"split"}, 0, "MPI_Comm_split"); }
    { const StuckCallWatch watch(WaitPolicy(), {"split"}, 0, "MPI_Comm_split"); }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
}

}  // namespace
}  // namespace expar
