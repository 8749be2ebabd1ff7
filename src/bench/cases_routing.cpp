#include <memory>

#include "cases.hpp"
#include "expar/compute/routing.hpp"

namespace expar {
namespace {

constexpr int tokens = 2048;
constexpr auto convention = RouterConvention::softmax_renormalized;

// Chooses, and weighs what was chosen; a wrong choice shows in its weight.
KernelCase router_case(int experts, int top_k) {
    const DType dtype = DType::float32;  // of logits and all that comes of them, whatever rows are
    KernelCase result = kernel_case("router", concat(tokens, " x ", experts, ", top-", top_k), dtype,
                                    {{Access::read, dtype, tokens, experts},
                                     {Access::written, dtype, tokens, experts},
                                     {Access::written, dtype, tokens, 1},
                                     {Access::written, dtype, tokens, top_k}});
    result.traffic.written += 4.0 * tokens * top_k;
    result.flops = tokens * (double(experts) * (top_k + 4) + 2.0 * top_k);
    const auto chosen = std::make_shared<std::vector<int>>(std::size_t(tokens * top_k));
    result.run = [=](Device& device, Operands& m) {
        device.routing().select(m[0], top_k, *chosen, device.stream());
        device.routing().weigh(convention, m[0], *chosen, {m[1], m[2], m[3]}, device.stream());
    };
    return result;
}

}  // namespace

std::vector<KernelCase> routing_cases(DType rows) {
    if (rows != DType::float32) return {};
    return {router_case(8, 2), router_case(64, 2), router_case(64, 8)};
}

}  // namespace expar
