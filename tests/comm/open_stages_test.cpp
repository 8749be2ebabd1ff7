#include "expar/comm/open_stages.hpp"

#include <gtest/gtest.h>

#include <stdexcept>

namespace expar {
namespace {

class OpenStagesTest : public testing::Test {
protected:
    OpenStages stages;
    int one = 0, two = 0;  // how often each was called
};

TEST_F(OpenStagesTest, CallsEachUntilItIsDone) {
    stages.add(&one, [this] { return ++one == 3; });
    stages.add(&two, [this] { return ++two == 1; });
    for (int i = 0; i < 5; ++i) stages.advance();
    EXPECT_EQ(one, 3);
    EXPECT_EQ(two, 1);
}

TEST_F(OpenStagesTest, WhatIsRemovedIsNotCalled) {
    stages.add(&one, [this] { return ++one < 0; });
    stages.add(&two, [this] { return ++two < 0; });
    stages.remove(&one);
    stages.advance();
    EXPECT_EQ(one, 0);
    EXPECT_EQ(two, 1);
}

// A stage may start and end others, and wait for nothing: what it starts is called in the same round.
TEST_F(OpenStagesTest, AStageMayAddAndRemoveOthers) {
    stages.add(&one, [this] {
        ++one;
        stages.advance();
        stages.add(&two, [this] { return ++two > 0; });
        stages.remove(&one);
        return false;
    });
    stages.advance();
    stages.advance();
    EXPECT_EQ(one, 1);
    EXPECT_EQ(two, 1);
}

TEST_F(OpenStagesTest, WhatThrowsIsForgotten) {
    stages.add(&one, [this]() -> bool {
        ++one;
        throw std::runtime_error("stage");
    });
    EXPECT_THROW(stages.advance(), std::runtime_error);
    stages.advance();
    EXPECT_EQ(one, 1);
}

}  // namespace
}  // namespace expar
