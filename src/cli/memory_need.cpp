#include "memory_need.hpp"

#include "expar/model/parameters.hpp"

namespace expar::cli {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Elements that a rank keeps of every token of one layer until its backward (LayerState).
std::int64_t elements_per_token(const ModelOptions& model, bool moe) {
    const std::int64_t query = std::int64_t{model.heads} * model.head_size;
    const std::int64_t key = std::int64_t{model.kv_heads} * model.head_size;
    const int normed = model.qk_norm == "none" ? 0 : 1;
    const std::int64_t inner = model.activation == "swiglu" ? 3 : 2;  // before and after the activation
    const std::int64_t hidden = model.hidden;
    const std::int64_t attention = 4 * hidden + (2 + normed) * query + (2 + normed) * key + model.heads;
    if (!moe) return attention + inner * model.dense_intermediate;
    return attention + 2 * std::int64_t{model.experts} + model.top_k * (2 * hidden + inner * model.intermediate) +
           (model.shared_intermediate > 0 ? hidden + inner * model.shared_intermediate : 0);
}

}  // namespace

MemoryNeed predict_memory(const ModelOptions& model, const TrainOptions& train, int ranks) {
    const int members = train.ep == 0 ? ranks : train.ep;
    std::int64_t elements = 0;
    for (const auto& block : describe_blocks(model)) {
        const bool hosted_by_first = block.role != Role::expert || block.expert < divide_up(model.experts, members);
        if (hosted_by_first) elements += std::int64_t(block.count());
    }
    const std::int64_t copies = train.optimizer == "adamw" ? 4 : 2;

    const std::int64_t tokens = divide_up(train.batch, ranks) * train.sequence;
    std::int64_t per_token = 2 * std::int64_t{model.hidden} + model.vocabulary;
    std::int64_t largest_layer = 0;  // what backward adds, of one layer at a time
    for (int layer = 0; layer < model.layers; ++layer) {
        const std::int64_t here = elements_per_token(model, model.is_moe(layer));
        per_token += here;
        largest_layer = std::max(largest_layer, here);
    }
    // Two sizes that nobody has may have a product beyond 64 bits.
    const double activations = double(tokens) * double(per_token + largest_layer) * 4;
    return {.parameters_bytes = copies * elements * 4,
            .activations_bytes = std::int64_t(std::min(activations, 0x1p62))};
}

}  // namespace expar::cli
