#include "expar/moe/router.hpp"

#include "expar/base/random.hpp"
#include "expar/compute/matrix_product.hpp"

namespace expar {

Matrix score(ConstRows x, Weight& weight, Device& device) {
    Matrix logits(device, weight.dtype(), x.rows(), weight.values().rows());
    device.product().forward(x, weight, logits, device.stream());
    return logits;
}

void perturb(Rows logits, double deviation, int layer, const TokenScope& scope) {
    if (deviation == 0) return;
    const RandomField noise(scope.seed, Purpose::router_noise, std::uint32_t(layer), scope.step);
    with_real(logits.dtype(), [&](auto zero) {
        using T = decltype(zero);
        for (int t = 0; t < logits.rows(); ++t) {
            const auto row = logits.row<T>(t);
            const auto first = std::uint64_t(scope.first_token + t) * row.size();
            for (std::size_t e = 0; e < row.size(); ++e) row[e] += T(deviation * noise.normal(first + e));
        }
    });
}

Array<int> select(ConstRows logits, int top_k, Device& device) {
    Array<int> experts(device, std::size_t(logits.rows()) * top_k);
    device.routing().select(logits, top_k, experts.view(), device.stream());
    return experts;
}

}  // namespace expar
