#include "memory_need.hpp"

#include <algorithm>

#include "expar/model/parameters.hpp"
#include "expar/train/gradient_reducer.hpp"
#include "step_memory.hpp"

namespace expar::cli {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
    return (a + b - 1) / b;
}

// Two sizes that nobody has may have a product beyond 64 bits.
std::int64_t whole(double bytes) {
    return std::int64_t(std::min(bytes, 0x1p60));
}

// What libraries and the system take in a run once they are used: MPI's buffers, HDF5, the first checkpoint.
constexpr std::int64_t program_growth_bytes = 6 << 20;

}  // namespace

MemoryNeed predict_memory(const ModelOptions& model, const TrainOptions& train, int ranks, InstructionSet set) {
    const int members = train.ep == 0 ? ranks : train.ep;
    const bool pairs = train.dtype == "bf16" && set >= InstructionSet::avx512_bf16;  // products of bfloat16 itself
    double elements = 0;                                                             // held by a rank
    double summed[2] = {};  // of those what others hold, too: all ranks, and the hosts of its experts
    double packed = 0;      // what products read of the matrices, in two forms
    // The embedding first, of which products read only a tied one.
    const auto blocks = describe_blocks(model);
    for (const auto& block : blocks) {
        const bool expert = block.role == Role::expert;
        if (expert && block.expert >= divide_up(model.experts, members)) continue;
        elements += double(block.count());
        for (const auto& tensor : block.tensors)
            if (tensor.rows > 1 && (block.layer >= 0 || &block != &blocks.front() || model.tied_head))
                packed += 2 * double(tensor.count());
        if (ranks > (expert ? members : 1)) summed[expert && members > 1] += double(block.count());
    }
    const double copies = train.optimizer == "adamw" ? 4 : 2;
    double under_way = 0;
    for (const double of_set : summed) under_way += std::min(of_set * 4, double(GradientReducer::most_bytes_under_way));
    const StepShape shape{.model = model,
                          .tokens = double(divide_up(train.batch, ranks)) * train.sequence,
                          .members = members,
                          .reduced = train.combine != "exact",
                          .recompute = train.recompute,
                          .row_bytes = train.dtype == "bf16" ? 2.0 : 4.0};
    return {.parameters_bytes = whole(copies * elements * 4 + packed * (pairs ? 2 : 4)),
            .activations_bytes = whole(peak_bytes_of_step(shape)),
            .exchange_bytes = whole(under_way),
            .program_bytes = program_growth_bytes};
}

}  // namespace expar::cli
