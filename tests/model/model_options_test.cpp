#include "expar/model/model_options.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "expar/base/error.hpp"

namespace expar {
namespace {

// The message of the UserError that resolved() throws; empty when it throws none.
std::string complaint(const std::function<void(ModelOptions&)>& change) {
    ModelOptions options;
    change(options);
    try {
        (void)options.resolved();
        return "";
    } catch (const UserError& error) {
        return error.what();
    }
}

TEST(ModelOptions, TheDefaultsAreAModel) {
    const ModelOptions options = ModelOptions{}.resolved();

    EXPECT_EQ(options.kv_heads, 8);
    EXPECT_EQ(options.head_size, 32);
    EXPECT_EQ(options.dense_intermediate, 1024);
}

TEST(ModelOptions, WhatIsGivenStays) {
    ModelOptions given;
    given.kv_heads = 2;
    given.head_size = 48;
    given.dense_intermediate = 96;

    const ModelOptions options = given.resolved().resolved();

    EXPECT_EQ(options.kv_heads, 2);
    EXPECT_EQ(options.head_size, 48);
    EXPECT_EQ(options.dense_intermediate, 96);
}

TEST(ModelOptions, AnImpossibleShapeNamesFieldValueAndExpectation) {
    EXPECT_EQ(complaint([](auto& o) { o.experts = 1; }), "model: top_k is 2; expected at most experts, 1");
    EXPECT_EQ(complaint([](auto& o) { o.hidden = 250; }),
              "model: hidden is 250; expected a multiple of heads, 8, or a head_size");
    EXPECT_EQ(complaint([](auto& o) { o.kv_heads = 3; }), "model: kv_heads is 3; expected a divisor of heads, 8");
    EXPECT_EQ(complaint([](auto& o) { o.hidden = 24; }),
              "model: head_size is 3 (hidden / heads); expected an even number, rotary positions turn pairs");
    EXPECT_EQ(complaint([](auto& o) { o.router = "top"; }),
              "model: router is 'top'; expected one of mixtral, olmoe, gpt-oss, switch");
    EXPECT_EQ(complaint([](auto& o) { o.router = "switch"; }), "model: top_k is 2; expected 1 with router switch");
    EXPECT_EQ(complaint([](auto& o) { o.shared = "gated"; }),
              "model: shared_intermediate is 0; expected the width of the shared expert with shared gated");
    EXPECT_EQ(complaint([](auto& o) { o.moe_every = 0; }), "model: moe_every is 0; expected at least 1");
    EXPECT_EQ(complaint([](auto& o) { o.capacity_factor = -1; }),
              "model: capacity_factor is -1; expected a number of at least 0");
}

TEST(ModelOptions, AWidthBeyondAnIntIsRefused) {
    EXPECT_EQ(complaint([](auto& o) { o.intermediate = 2000000000; }),
              "model: top_k * intermediate is 4000000000; expected at most 2147483647");
    EXPECT_EQ(complaint([](auto& o) { o.head_size = 1000000000; }),
              "model: heads * head_size is 8000000000; expected at most 2147483647");
    EXPECT_EQ(complaint([](auto& o) { o.vocabulary = o.hidden = 65536; }),
              "model: the embedding has 4.29497e+09 parameters; expected at most 2147483647");
    EXPECT_EQ(complaint([](auto& o) { o.hidden = o.intermediate = 32768; }),
              "model: the attention has 4.29516e+09 parameters; expected at most 2147483647");
}

TEST(ModelOptions, EveryNumberAndNameIsJudged) {
    const std::vector<std::pair<const char*, std::function<void(ModelOptions&)>>> mistakes = {
        {"vocabulary", [](auto& o) { o.vocabulary = 0; }},
        {"layers", [](auto& o) { o.layers = 0; }},
        {"hidden", [](auto& o) { o.hidden = -8; }},
        {"heads", [](auto& o) { o.heads = 0; }},
        {"kv_heads", [](auto& o) { o.kv_heads = -1; }},
        {"head_size", [](auto& o) { o.head_size = -2; }},
        {"intermediate", [](auto& o) { o.intermediate = 0; }},
        {"experts", [](auto& o) { o.experts = 0; }},
        {"top_k", [](auto& o) { o.top_k = 0; }},
        {"dense_intermediate", [](auto& o) { o.dense_intermediate = -1; }},
        {"shared_intermediate", [](auto& o) { o.shared_intermediate = -1; }},
        {"shared", [](auto& o) { o.shared = "both"; }},
        {"activation", [](auto& o) { o.activation = "silu"; }},
        {"qk_norm", [](auto& o) { o.qk_norm = "all"; }},
        {"capacity_scope", [](auto& o) { o.capacity_scope = "node"; }},
        {"balance_scope", [](auto& o) { o.balance_scope = ""; }},
        {"router_noise", [](auto& o) { o.router_noise = std::numeric_limits<double>::quiet_NaN(); }},
        {"rope_theta", [](auto& o) { o.rope_theta = 0; }},
        {"norm_epsilon", [](auto& o) { o.norm_epsilon = 0; }},
        {"initial_std", [](auto& o) { o.initial_std = -0.1; }},
        {"balance_coefficient", [](auto& o) { o.balance_coefficient = -1; }},
        {"z_coefficient", [](auto& o) { o.z_coefficient = std::numeric_limits<double>::infinity(); }},
    };
    for (const auto& [field, mistake] : mistakes)
        EXPECT_NE(complaint(mistake).find(std::string("model: ") + field + " is "), std::string::npos) << field;
}

TEST(ModelOptions, AnOddHeadSizeIsRefusedAlsoWhenGiven) {
    EXPECT_EQ(complaint([](auto& o) { o.head_size = 5; }),
              "model: head_size is 5; expected an even number, rotary positions turn pairs");
}

// hidden 4, vocabulary 3: embedding 12 and final norm 4; per layer norms 8, attention 4 * (2 * 4 + 2 * 2) = 48.
TEST(ModelOptions, ParametersAreCountedAsByHand) {
    ModelOptions options;
    options.vocabulary = 3;
    options.layers = 2;
    options.hidden = 4;
    options.heads = 2;
    options.kv_heads = 1;
    options.intermediate = 5;  // an expert: 3 * 4 * 5 = 60
    options.experts = 6;       // router: 24
    options.top_k = 2;
    options.tied_head = true;
    const int common = 12 + 4 + 2 * (8 + 48 + 24);
    EXPECT_EQ(count_parameters(options).total, common + 2 * 6 * 60);
    EXPECT_EQ(count_parameters(options).active, common + 2 * 2 * 60);

    options.tied_head = false;
    EXPECT_EQ(count_parameters(options).total, common + 12 + 2 * 6 * 60);

    options.moe_every = 2;  // layer 0 becomes dense: 2 * 60 for the experts that a token uses, and no router
    EXPECT_EQ(count_parameters(options).total, common + 12 - 24 + 2 * 60 + 6 * 60);
    EXPECT_EQ(count_parameters(options).active, common + 12 - 24 + 2 * 60 + 2 * 60);

    options.shared_intermediate = 7;
    options.shared = "gated";
    options.qk_norm = "projection";
    EXPECT_EQ(count_parameters(options).total, common + 12 - 24 + 2 * 60 + 6 * 60 + 84 + 4 + 2 * (4 + 2));

    options.qk_norm = "head";
    options.activation = "relu";  // two matrices: 40, 80 and 56 in place of 60, 120 and 84
    EXPECT_EQ(count_parameters(options).total, common + 12 - 24 + 2 * 40 + 6 * 40 + 56 + 4 + 2 * (2 + 2));
}

}  // namespace
}  // namespace expar
