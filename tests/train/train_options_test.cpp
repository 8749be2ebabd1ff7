#include "expar/train/train_options.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "expar/base/names.hpp"
#include "expar/comm/exchange.hpp"

namespace expar {
namespace {

TEST(TrainOptions, AcceptsItsDefaultsAtAnyRankCount) {
    for (const int ranks : {1, 2, 3, 8}) EXPECT_NO_THROW(TrainOptions().validate(ranks));
}

TEST(TrainOptions, NamesFieldValueAndWhatWasExpected) {
    const auto refusal = [](const std::function<void(TrainOptions&)>& spoil) -> std::string {
        TrainOptions options;
        spoil(options);
        try {
            options.validate(4);
        } catch (const UserError& error) {
            return error.what();
        }
        return "accepted";
    };
    EXPECT_EQ(refusal([](auto& o) { o.batch = 0; }), "batch: 0, expected at least 1 sequence");
    EXPECT_EQ(refusal([](auto& o) { o.learning_rate = -1; }), "learning_rate: -1, expected at least 0");
    EXPECT_EQ(refusal([](auto& o) { o.learning_rate = std::nan(""); }), "learning_rate: nan, expected at least 0");
    EXPECT_EQ(refusal([](auto& o) { o.optimizer = std::string("adam"); }),
              "unknown optimizer 'adam'; known: adamw, sgd");
    EXPECT_EQ(refusal([](auto& o) { o.exchange = std::string("x"); }),
              concat("unknown exchange 'x'; known: ", names_of(exchange_kinds)));
    EXPECT_EQ(refusal([](auto& o) { o.dispatcher = std::string("x"); }),
              "unknown dispatcher 'x'; known: packed, naive, window, hierarchical");
    EXPECT_EQ(refusal([](auto& o) { o.dtype = std::string("fp16"); }), "unknown dtype 'fp16'; known: float32, bf16");
    EXPECT_EQ(refusal([](auto& o) { o.learning_rate = INFINITY; }), "learning_rate: inf, expected a finite number");
    EXPECT_EQ(refusal([](auto& o) { o.timeout = 1e10; }),
              "timeout: 1e+10, expected more than 0 and at most 1e9 seconds");
    EXPECT_EQ(refusal([](auto& o) { o.batch = o.sequence = 50000; }),
              "batch * (sequence + 1): 2500050000, expected at most 2147483647 bytes");
    for (const auto& text :
         {refusal([](auto& o) { o.ep = 3; }), refusal([](auto& o) { o.combine = std::string("fast"); }),
          refusal([](auto& o) { o.placement = std::string("random"); }), refusal([](auto& o) { o.beta2 = 1; })})
        EXPECT_NE(text, "accepted");
}

TEST(TrainOptions, KnowsTheTypesOfRows) {
    EXPECT_EQ(row_dtype(TrainOptions().dtype), DType::float32);
    EXPECT_EQ(row_dtype("bf16"), DType::bfloat16);
    EXPECT_THROW((void)row_dtype("float64"), UserError);  // is the references' alone
}

}  // namespace
}  // namespace expar
