#include "expar/model/micro_batch.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "expar/base/error.hpp"

namespace expar {
namespace {

MicroBatch batch_of(const std::vector<int>& lengths) {
    MicroBatch batch;
    for (const int length : lengths) {
        std::vector<int> text(std::size_t(length) + 1);
        std::iota(text.begin(), text.end(), batch.token_count());
        batch.append(text);
    }
    return batch;
}

TEST(MicroBatch, PredictsEachNextToken) {
    MicroBatch batch;
    batch.append(std::vector{7, 8, 9});
    batch.append(std::vector{1, 2});
    EXPECT_EQ(batch.tokens, (std::vector{7, 8, 1}));
    EXPECT_EQ(batch.targets, (std::vector{8, 9, 2}));
    EXPECT_EQ(batch.positions, (std::vector{0, 1, 0}));
    EXPECT_EQ(batch.offsets, (std::vector{0, 2, 3}));
}

TEST(MicroBatch, CountsOnlyTokensWithATarget) {
    MicroBatch batch = batch_of({3, 2});
    batch.targets[1] = -1;
    EXPECT_EQ(batch.loss_count(), 4);
}

TEST(MicroBatch, RefusesASequenceThatPredictsNothing) {
    MicroBatch batch;
    EXPECT_THROW(batch.append(std::vector{5}), Error);
}

TEST(MicroBatch, SharesAreConsecutiveRunsOfFloorOrCeil) {
    const MicroBatch batch = batch_of({3, 1, 4, 1, 5, 9, 2});
    for (int ranks = 1; ranks <= 9; ++ranks) {
        MicroBatch joined;
        for (int rank = 0; rank < ranks; ++rank) {
            const MicroBatch share = batch.share_of(rank, ranks);
            const int floor = batch.sequence_count() / ranks;
            EXPECT_GE(share.sequence_count(), floor);
            EXPECT_LE(share.sequence_count(), floor + 1);
            EXPECT_EQ(share.offsets.front(), 0);
            EXPECT_EQ(share.offsets.back(), share.token_count());
            EXPECT_EQ(share.first_token, joined.token_count());
            joined.tokens.insert(joined.tokens.end(), share.tokens.begin(), share.tokens.end());
            joined.targets.insert(joined.targets.end(), share.targets.begin(), share.targets.end());
            joined.positions.insert(joined.positions.end(), share.positions.begin(), share.positions.end());
        }
        EXPECT_EQ(joined.tokens, batch.tokens) << ranks << " ranks";
        EXPECT_EQ(joined.targets, batch.targets) << ranks << " ranks";
        EXPECT_EQ(joined.positions, batch.positions) << ranks << " ranks";
    }
}

TEST(MicroBatch, MoreRanksThanSequencesLeaveSomeWithoutTokens) {
    const MicroBatch share = batch_of({3, 2}).share_of(3, 4);
    EXPECT_EQ(share.token_count(), 0);
    EXPECT_EQ(share.sequence_count(), 0);
    EXPECT_EQ(share.first_token, 5);
}

TEST(MicroBatch, AShareCountsFromTheMicroBatchsFirstToken) {
    MicroBatch batch = batch_of({3, 2});
    batch.first_token = 100;
    EXPECT_EQ(batch.share_of(1, 2).first_token, 103);
}

}  // namespace
}  // namespace expar
