#include "expar/comm/verdict.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;

class VerdictTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
};

TEST_F(VerdictTest, OfTheRootIsThatOfAllRanks) {
    int calls = 0;
    const auto refuse = [&] {
        judge_on_root(world, [&] {
            ++calls;
            throw UserError("refused by the root");
        });
    };
    EXPECT_EQ(complaint_of<UserError>(refuse), "refused by the root");
    EXPECT_EQ(calls, world.rank() == 0 ? 1 : 0);
    EXPECT_NO_THROW(judge_on_root(world, [] {}));
}

TEST_F(VerdictTest, OfAllRanksIsThatOfTheLowestThatComplains) {
    for (int first = 0; first < world.size(); ++first) {
        const auto refuse = [&] {
            judge_everywhere(world, [&] {
                if (world.rank() >= first) throw UserError(concat("rank ", world.rank()));
            });
        };
        EXPECT_EQ(complaint_of<UserError>(refuse), concat("rank ", first));
    }
    int calls = 0;
    EXPECT_NO_THROW(judge_everywhere(world, [&] { ++calls; }));
    EXPECT_EQ(calls, 1);
    const auto say_nothing = [&] { judge_everywhere(world, [] { throw UserError(""); }); };
    EXPECT_THROW(say_nothing(), UserError);
}

}  // namespace
}  // namespace expar
