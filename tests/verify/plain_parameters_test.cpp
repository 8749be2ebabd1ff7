#include "expar/verify/plain_parameters.hpp"

#include <gtest/gtest.h>

#include "expar/base/error.hpp"
#include "verify/plain_support.hpp"

namespace expar {
namespace {

ModelOptions small() {
    ModelOptions options;
    options.layers = 3;
    options.hidden = 8;
    options.heads = 4;
    options.kv_heads = 2;
    options.intermediate = 6;
    return options;
}

TEST(PlainParameters, TheirSizesAddUpToTheModelsCount) {
    for (const int moe_every : {1, 2, 4})
        for (const std::string qk_norm : {"none", "projection", "head"})
            for (const std::string shared : {"sum", "gated"})
                for (const std::string activation : {"swiglu", "relu"}) {
                    auto options = small();
                    options.moe_every = moe_every;
                    options.qk_norm = qk_norm;
                    options.shared = shared;
                    options.shared_intermediate = shared == "gated" ? 5 : 0;
                    options.activation = activation;
                    options.tied_head = moe_every == 2;
                    std::size_t sum = 0;
                    for (const auto& [name, size] : plain_parameter_sizes(options.resolved())) sum += size;
                    EXPECT_EQ(std::int64_t(sum), count_parameters(options).total);
                }
}

TEST(PlainParameters, AMissingSurplusOrWrongWeightIsNamed) {
    const auto options = small().resolved();
    const auto complaint = [&](auto change) -> std::string {
        auto weights = random_weights(options, 1);
        change(weights);
        try {
            plain_check_weights(options, weights);
            return "";
        } catch (const Error& error) {
            return error.what();
        }
    };
    EXPECT_EQ(complaint([](auto&) {}), "");
    EXPECT_NE(complaint([](auto& w) { w.erase("norm.weight"); }).find("lack norm.weight"), std::string::npos);
    EXPECT_NE(complaint([](auto& w) { w["bias"] = {0}; }).find("no parameter bias"), std::string::npos);
    EXPECT_NE(complaint([](auto& w) { w["norm.weight"].pop_back(); }).find("norm.weight has 7 elements; expected 8"),
              std::string::npos);
}

}  // namespace
}  // namespace expar
