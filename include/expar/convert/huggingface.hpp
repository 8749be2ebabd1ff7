#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "expar/model/model_options.hpp"
#include "expar/store/checkpoint.hpp"

namespace expar {

/// The model of `transformers` that computes what these options describe: "mixtral", "olmoe" or "qwen2_moe".
///
/// Options must be resolved. Throws UserError, naming what each of them cannot hold.
[[nodiscard]] std::string_view hugging_face_model(const ModelOptions& options);

/// A tensor's name in that model: "layers.3.experts.17.up.weight" → "model.layers.3.mlp.experts.17.up_proj.weight".
/// Throws Error for a name that a checkpoint never has.
[[nodiscard]] std::string hugging_face_name(std::string_view model, std::string_view tensor);

/// config.json. `positions` is the length of the sequences that the model was trained on.
[[nodiscard]] std::string hugging_face_config(const ModelOptions& options, int positions);

/// tokenizer.json in which token b is the byte b: a byte-level BPE without merges.
[[nodiscard]] std::string byte_tokenizer();
/// tokenizer_config.json that goes with it.
[[nodiscard]] std::string byte_tokenizer_config();

/// Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json into `folder` from a checkpoint's
/// values, block by block. Local; throws UserError.
void export_hugging_face(const CheckpointReader& checkpoint, const ModelOptions& options, int positions,
                         const std::filesystem::path& folder);

}  // namespace expar
