#pragma once

#include <cstdint>
#include <string>

namespace expar {

/// The shape of a decoder-only Mixture-of-Experts language model, with every default resolved by resolved().
struct ModelOptions {
    int vocabulary = 256;
    int layers = 4;
    int hidden = 256;
    int heads = 8;
    int kv_heads = 0;   ///< 0: as many as heads
    int head_size = 0;  ///< 0: hidden / heads
    int intermediate = 512;
    int experts = 8;
    int top_k = 2;
    int moe_every = 1;                  ///< layer l has experts when (l + 1) % moe_every == 0
    int dense_intermediate = 0;         ///< width of the layers without experts; 0: top_k * intermediate
    int shared_intermediate = 0;        ///< width of the shared expert; 0: none
    std::string shared = "sum";         ///< sum | gated: how the shared expert joins the others
    std::string activation = "swiglu";  ///< swiglu | gelu | gelu_tanh | relu
    std::string router = "mixtral";     ///< mixtral | olmoe | gpt-oss | switch: how logits become choices and weights
    double router_noise = 0;            ///< standard deviation of the noise on logits in training
    std::string qk_norm = "none";       ///< none | projection | head
    bool tied_head = false;
    double rope_theta = 10000;
    double norm_epsilon = 1e-5;
    double initial_std = 0.02;
    double capacity_factor = 0;          ///< 0: dropless
    std::string capacity_scope = "all";  ///< all | rank
    double balance_coefficient = 0.01;
    std::string balance_scope = "all";  ///< all | rank
    double z_coefficient = 0.001;

    bool is_moe(int layer) const { return (layer + 1) % moe_every == 0; }

    /// A copy in which every 0 that stands for "derive it" is replaced. Throws UserError, naming field, value and
    /// what was expected, when the shape is impossible.
    [[nodiscard]] ModelOptions resolved() const;
};

/// Parameters of the whole model, and of what one token uses (its top_k experts, not all).
struct ParameterCount {
    std::int64_t total = 0;
    std::int64_t active = 0;
};

[[nodiscard]] ParameterCount count_parameters(const ModelOptions& options);

}  // namespace expar
