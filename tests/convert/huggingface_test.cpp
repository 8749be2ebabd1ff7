#include "expar/convert/huggingface.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "expar/base/error.hpp"
#include "expar/model/parameters.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;

ModelOptions olmoe() {
    ModelOptions options;
    options.qk_norm = "projection";
    options.router = "olmoe";
    return options;
}
ModelOptions qwen2_moe() {
    ModelOptions options;
    options.shared_intermediate = 32;
    options.shared = "gated";
    options.router = "switch";
    options.top_k = 1;
    options.moe_every = 2;
    return options;
}

TEST(HuggingFace, ChoosesTheModelThatComputesTheSame) {
    EXPECT_EQ(hugging_face_model(ModelOptions().resolved()), "mixtral");
    EXPECT_EQ(hugging_face_model(olmoe().resolved()), "olmoe");
    EXPECT_EQ(hugging_face_model(qwen2_moe().resolved()), "qwen2_moe");
    // Softmax over the chosen is softmax over all, renormalised.
    ModelOptions gpt_oss;
    gpt_oss.router = "gpt-oss";
    EXPECT_EQ(hugging_face_model(gpt_oss.resolved()), "mixtral");
    // Mixtral's weights under OLMoE's norm: OLMoE can renormalise.
    ModelOptions normed;
    normed.qk_norm = "projection";
    EXPECT_EQ(hugging_face_model(normed.resolved()), "olmoe");
    EXPECT_TRUE(nlohmann::json::parse(hugging_face_config(normed.resolved(), 64)).at("norm_topk_prob").get<bool>());
}

TEST(HuggingFace, RefusesByNameWhatNoModelHolds) {
    const auto complaint = [](auto change) {
        ModelOptions options;
        change(options);
        return complaint_of<UserError>([&] { (void)hugging_face_model(options.resolved()); });
    };
    const auto expect_names = [](const std::string& complaint, const std::string& option) {
        EXPECT_NE(complaint.find(option), std::string::npos) << complaint;
        EXPECT_EQ(complaint.find('\n'), std::string::npos);
    };
    expect_names(complaint([](auto& o) { o.activation = "gelu"; }), "activation = 'gelu'");
    expect_names(complaint([](auto& o) { o.capacity_factor = 1.25; }), "capacity_factor = 1.25");
    expect_names(complaint([](auto& o) { o.qk_norm = "head"; }), "qk_norm = 'head'");
    expect_names(complaint([](auto& o) { o.vocabulary = 100; }), "vocabulary = 100");
    expect_names(complaint([](auto& o) { o.shared_intermediate = 8; }), "shared = 'sum'");
    expect_names(complaint([](auto& o) { o.router = "olmoe"; }), "not mixtral: router = 'olmoe'");
    expect_names(complaint([](auto& o) { o.moe_every = 2; }), "not mixtral: moe_every = 2");
}

TEST(HuggingFace, GivesEveryTensorANameOfItsOwn) {
    for (const ModelOptions& options : {ModelOptions().resolved(), olmoe().resolved(), qwen2_moe().resolved()}) {
        const auto model = hugging_face_model(options);
        std::set<std::string> names;
        int tensors = 0;
        for (const auto& block : describe_blocks(options))
            for (const auto& tensor : block.tensors) {
                ++tensors;
                names.insert(hugging_face_name(model, tensor.name));
            }
        EXPECT_EQ(int(names.size()), tensors) << model;
    }
    EXPECT_EQ(hugging_face_name("mixtral", "layers.3.experts.17.up.weight"),
              "model.layers.3.block_sparse_moe.experts.17.w3.weight");
    EXPECT_EQ(hugging_face_name("olmoe", "layers.3.experts.17.up.weight"),
              "model.layers.3.mlp.experts.17.up_proj.weight");
    EXPECT_EQ(hugging_face_name("qwen2_moe", "layers.0.shared.gate.weight"),
              "model.layers.0.mlp.shared_expert.gate_proj.weight");
    EXPECT_THROW((void)hugging_face_name("mixtral", "layers.3.other.weight"), Error);
}

TEST(HuggingFace, MakesEveryByteAToken) {
    const auto tokenizer = nlohmann::json::parse(byte_tokenizer());
    std::set<int> ids;
    for (const auto& [letter, id] : tokenizer.at("model").at("vocab").items()) ids.insert(id.get<int>());
    EXPECT_EQ(ids.size(), 256U);
    EXPECT_EQ(*ids.rbegin(), 255);
    EXPECT_EQ(tokenizer.at("model").at("vocab").at("A"), 65);
    EXPECT_EQ(tokenizer.at("model").at("vocab").at("\u0120"), 32);  // GPT-2's letter for a space
}

}  // namespace
}  // namespace expar
