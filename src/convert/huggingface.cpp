#include "expar/convert/huggingface.hpp"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "expar/base/error.hpp"
#include "expar/convert/safetensors.hpp"
#include "expar/model/parameters.hpp"
#include "expar/store/partial_file.hpp"

namespace expar {
namespace {

using Json = nlohmann::ordered_json;

bool renormalizes(const ModelOptions& options) {
    // The softmax over the chosen logits is the softmax over all, divided by the sum over the chosen.
    return options.router == "mixtral" || options.router == "gpt-oss";
}

bool has_dense_layers(const ModelOptions& options) {
    return options.moe_every > 1;
}

// Why no model of transformers that we write can hold these options; empty when one may.
std::string common_obstacle(const ModelOptions& options) {
    if (options.activation != "swiglu")
        return concat("activation = '", options.activation, "', their experts are swiglu");
    if (options.capacity_factor > 0)
        return concat("capacity_factor = ", options.capacity_factor, ", they drop no choice");
    if (options.qk_norm == "head") return "qk_norm = 'head', they have none or one over the projection";
    if (options.vocabulary < 256)
        return concat("vocabulary = ", options.vocabulary, ", the byte tokenizer needs at least 256");
    if (options.shared_intermediate > 0 && options.shared == "sum")
        return "shared = 'sum', they have none or a gated one";
    return "";
}

std::string mixtral_obstacle(const ModelOptions& options) {
    if (!renormalizes(options)) return concat("router = '", options.router, "', it renormalises the weights");
    if (options.shared_intermediate > 0) return "it has no shared expert";
    if (options.qk_norm != "none") return concat("qk_norm = '", options.qk_norm, "', it has none");
    if (has_dense_layers(options)) return concat("moe_every = ", options.moe_every, ", all its layers have experts");
    return "";
}

std::string olmoe_obstacle(const ModelOptions& options) {
    if (options.qk_norm != "projection") return concat("qk_norm = '", options.qk_norm, "', it has 'projection'");
    if (options.shared_intermediate > 0) return "it has no shared expert";
    if (has_dense_layers(options)) return concat("moe_every = ", options.moe_every, ", all its layers have experts");
    if (options.heads * options.head_size != options.hidden)
        return concat("head_size = ", options.head_size, ", its is hidden / heads");
    return "";
}

std::string qwen2_moe_obstacle(const ModelOptions& options) {
    if (options.shared_intermediate == 0) return "shared_intermediate = 0, it has a gated shared expert";
    if (options.qk_norm != "none") return concat("qk_norm = '", options.qk_norm, "', it has none");
    if (options.heads * options.head_size != options.hidden)
        return concat("head_size = ", options.head_size, ", its is hidden / heads");
    return "";
}

struct Candidate {
    std::string_view model;
    std::string_view architecture;
    std::string (*obstacle)(const ModelOptions&);
};
constexpr std::array candidates = {
    Candidate{"mixtral", "MixtralForCausalLM", mixtral_obstacle},
    Candidate{"olmoe", "OlmoeForCausalLM", olmoe_obstacle},
    Candidate{"qwen2_moe", "Qwen2MoeForCausalLM", qwen2_moe_obstacle},
};

const Candidate& candidate_for(const ModelOptions& options) {
    if (const auto obstacle = common_obstacle(options); !obstacle.empty())
        throw UserError(concat("export: neither mixtral, olmoe nor qwen2_moe can hold this model: ", obstacle));
    std::string reasons;
    for (const auto& candidate : candidates) {
        const auto obstacle = candidate.obstacle(options);
        if (obstacle.empty()) return candidate;
        reasons += concat(reasons.empty() ? "" : "; ", "not ", candidate.model, ": ", obstacle);
    }
    throw UserError(concat("export: no model of transformers can hold this one: ", reasons));
}

using Renaming = std::pair<std::string_view, std::string_view>;

// Names inside a layer that all three models share.
constexpr std::array layer_names = {
    Renaming{"attention_norm.weight", "input_layernorm.weight"},
    Renaming{"feed_forward_norm.weight", "post_attention_layernorm.weight"},
    Renaming{"attention.query.weight", "self_attn.q_proj.weight"},
    Renaming{"attention.key.weight", "self_attn.k_proj.weight"},
    Renaming{"attention.value.weight", "self_attn.v_proj.weight"},
    Renaming{"attention.output.weight", "self_attn.o_proj.weight"},
    Renaming{"attention.query_norm.weight", "self_attn.q_norm.weight"},
    Renaming{"attention.key_norm.weight", "self_attn.k_norm.weight"},
    Renaming{"shared_gate.weight", "mlp.shared_expert_gate.weight"},
};
// Starts of names that end in gate.weight, up.weight or down.weight.
constexpr std::array network_names = {
    Renaming{"shared.", "mlp.shared_expert."},
    Renaming{"dense.", "mlp."},
    Renaming{"experts.", "mlp.experts."},
};

std::string name_in_layer(std::string_view model, std::string_view name) {
    const bool mixtral = model == "mixtral";
    if (name == "router.weight") return mixtral ? "block_sparse_moe.gate.weight" : "mlp.gate.weight";
    for (const auto& [ours, theirs] : layer_names)
        if (name == ours) return std::string(theirs);
    for (const auto& [ours, theirs] : network_names) {
        if (!name.starts_with(ours)) continue;
        const auto rest = name.substr(ours.size());  // "17.up.weight" or "up.weight"
        const auto part = rest.substr(0, rest.rfind('.'));
        const auto dot = part.rfind('.');
        const auto which = dot == std::string_view::npos ? part : part.substr(dot + 1);
        const auto expert = dot == std::string_view::npos ? "" : std::string(part.substr(0, dot + 1));
        if (!mixtral) return concat(theirs, expert, which, "_proj.weight");
        const char* letter = which == "gate" ? "w1" : which == "up" ? "w3" : "w2";
        return concat("block_sparse_moe.experts.", expert, letter, ".weight");
    }
    throw Error(concat("export: no name for tensor '", name, "'"));
}

// Their norms are vectors where ours are matrices of one row.
bool is_norm(std::string_view name) {
    return name == "norm.weight" || name.ends_with("_norm.weight");
}

void add_shape(Json& config, const ModelOptions& options) {
    config["vocab_size"] = options.vocabulary;
    config["hidden_size"] = options.hidden;
    config["num_hidden_layers"] = options.layers;
    config["num_attention_heads"] = options.heads;
    config["num_key_value_heads"] = options.kv_heads;
    config["hidden_act"] = "silu";
    config["rms_norm_eps"] = options.norm_epsilon;
    config["initializer_range"] = options.initial_std;
    config["tie_word_embeddings"] = options.tied_head;
    config["num_experts_per_tok"] = options.top_k;
    config["attention_dropout"] = 0.0;
    // By both names: transformers 5 reads the second, older ones the first.
    config["rope_theta"] = options.rope_theta;
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", options.rope_theta}};
    for (const char* token : {"bos_token_id", "eos_token_id", "pad_token_id"}) config[token] = nullptr;
}

void add_experts(Json& config, std::string_view model, const ModelOptions& options) {
    if (model == "mixtral") {
        config["num_local_experts"] = options.experts;
        config["intermediate_size"] = options.intermediate;
        config["head_dim"] = options.head_size;
        config["sliding_window"] = nullptr;
        return;
    }
    config["num_experts"] = options.experts;
    config["norm_topk_prob"] = renormalizes(options);
    if (model == "olmoe") {
        config["intermediate_size"] = options.intermediate;
        config["attention_bias"] = false;
        config["clip_qkv"] = nullptr;
        return;
    }
    config["moe_intermediate_size"] = options.intermediate;
    config["shared_expert_intermediate_size"] = options.shared_intermediate;
    config["intermediate_size"] = options.dense_intermediate;
    config["decoder_sparse_step"] = options.moe_every;
    config["mlp_only_layers"] = Json::array();
    config["qkv_bias"] = false;
    config["use_sliding_window"] = false;
}

std::string utf8(int code_point) {
    if (code_point < 0x80) return {char(code_point)};
    return {char(0xC0 | code_point >> 6), char(0x80 | (code_point & 0x3F))};
}

// GPT-2's letter for a byte: itself where that prints, otherwise the next unused one from U+0100 on.
std::array<std::string, 256> byte_letters() {
    std::array<std::string, 256> letters;
    int unused = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
        const bool prints = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        letters[byte] = utf8(prints ? byte : unused++);
    }
    return letters;
}

}  // namespace

std::string_view hugging_face_model(const ModelOptions& options) {
    return candidate_for(options).model;
}

std::string hugging_face_name(std::string_view model, std::string_view tensor) {
    if (tensor == "embedding.weight") return "model.embed_tokens.weight";
    if (tensor == "norm.weight") return "model.norm.weight";
    if (tensor == "head.weight") return "lm_head.weight";
    const auto end = tensor.find('.', std::string_view("layers.").size());
    if (!tensor.starts_with("layers.") || end == std::string_view::npos)
        throw Error(concat("export: no name for tensor '", tensor, "'"));
    return concat("model.", tensor.substr(0, end + 1), name_in_layer(model, tensor.substr(end + 1)));
}

std::string hugging_face_config(const ModelOptions& options, int positions) {
    const Candidate& candidate = candidate_for(options);
    Json config;
    config["architectures"] = {candidate.architecture};
    config["model_type"] = candidate.model;
    config["torch_dtype"] = "float32";
    add_shape(config, options);
    config["max_position_embeddings"] = positions;
    add_experts(config, candidate.model, options);
    return config.dump(2);
}

std::string byte_tokenizer() {
    const Json byte_level = {
        {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
    Json vocabulary = Json::object();
    const auto letters = byte_letters();
    for (int byte = 0; byte < 256; ++byte) vocabulary[letters[byte]] = byte;
    Json tokenizer;
    tokenizer["version"] = "1.0";
    for (const char* none : {"truncation", "padding"}) tokenizer[none] = nullptr;
    tokenizer["added_tokens"] = Json::array();
    tokenizer["normalizer"] = nullptr;
    tokenizer["pre_tokenizer"] = byte_level;
    tokenizer["post_processor"] = nullptr;
    tokenizer["decoder"] = byte_level;
    tokenizer["model"] = {{"type", "BPE"},
                          {"dropout", nullptr},
                          {"unk_token", nullptr},
                          {"continuing_subword_prefix", nullptr},
                          {"end_of_word_suffix", nullptr},
                          {"fuse_unk", false},
                          {"byte_fallback", false},
                          {"ignore_merges", false},
                          {"vocab", vocabulary},
                          {"merges", Json::array()}};
    return tokenizer.dump(2);
}

std::string byte_tokenizer_config() {
    const Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"}, {"clean_up_tokenization_spaces", false}};
    return config.dump(2);
}

void export_hugging_face(const CheckpointReader& checkpoint, const ModelOptions& options, int positions,
                         const std::filesystem::path& folder) {
    const auto model = hugging_face_model(options);
    const auto blocks = describe_blocks(options);
    checkpoint.expect(blocks);
    std::vector<NamedShape> shapes;
    for (const auto& block : blocks)
        for (const auto& tensor : block.tensors) {
            NamedShape shape{hugging_face_name(model, tensor.name), {tensor.rows, tensor.cols}};
            if (is_norm(tensor.name)) shape.shape = {tensor.cols};
            shapes.push_back(std::move(shape));
        }

    SafetensorsWriter writer(folder / "model.safetensors", shapes);
    for (const auto& block : blocks) {
        std::vector<float> values(block.count());
        checkpoint.read("value", block, values);
        std::size_t first = 0;
        for (const auto& tensor : block.tensors) {
            writer.append(std::span(values).subspan(first, tensor.count()));
            first += tensor.count();
        }
    }
    writer.finish();
    replace_file(folder / "config.json", hugging_face_config(options, positions) + '\n');
    replace_file(folder / "tokenizer.json", byte_tokenizer() + '\n');
    replace_file(folder / "tokenizer_config.json", byte_tokenizer_config() + '\n');
}

}  // namespace expar
