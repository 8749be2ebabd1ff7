#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "expar/comm/communicator.hpp"

namespace expar {

/// A matrix of a golden file, in float64.
struct GoldenTensor {
    int rows = 0;
    int cols = 0;
    std::vector<double> values;  ///< [rows, cols]
};

/// What another implementation computed for one MoE block: its shape, its weights, an input, and everything that a
/// forward and a backward of it yield. A value.
struct GoldenBlock {
    std::string model;       ///< mixtral | olmoe | qwen2_moe | switch: who computed it
    std::string router;      ///< as ModelOptions::router
    std::string activation;  ///< as ModelOptions::activation
    std::string shared;      ///< none | sum | gated
    int hidden = 0;
    int intermediate = 0;
    int experts = 0;
    int top_k = 0;
    int tokens = 0;
    int shared_intermediate = 0;
    std::int64_t seed = 0;
    std::string torch_version;
    std::string transformers_version;

    std::vector<int> choices;  ///< [T, k], by descending score
    double balance_loss = 0;   ///< E Σ f P
    /// input, d_output, output, d_input [T, H], weights [T, k], every weight of the block by its name, its gradient by
    /// "d_" and the name, and the gradients of the balance loss: d_balance_input, d_balance_router.weight.
    std::map<std::string, GoldenTensor> tensors;

    /// Throws Error for a name that no golden file has.
    [[nodiscard]] const GoldenTensor& tensor(const std::string& name) const;
    /// The weights, in the order of moe_blocks(), without "layers.{l}.".
    [[nodiscard]] std::vector<std::string> weight_names() const;
};

inline constexpr std::string_view golden_format = "expar-golden-1";

/// Throws UserError, naming the file and what is missing or misshapen. Local.
[[nodiscard]] GoldenBlock read_golden(const std::filesystem::path& path);

/// The same, read by rank 0 and given to all. Collective.
[[nodiscard]] GoldenBlock read_golden(const std::filesystem::path& path, const Communicator& world);

}  // namespace expar
