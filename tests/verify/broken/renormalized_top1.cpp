#include "expar/moe/router.hpp"

namespace expar {

Weighing weigh(RouterConvention convention, ConstRows logits, const Array<int>& experts, int top_k, Device& device) {
    const int tokens = logits.rows();
    Weighing result{Matrix(device, logits.dtype(), tokens, logits.cols()), Matrix(device, logits.dtype(), tokens, 1),
                    Matrix(device, logits.dtype(), tokens, top_k)};
    device.routing().weigh(convention, logits, experts.view(),
                           {result.probabilities, result.log_sum_exp, result.weights}, device.stream());
    // A single choice counts fully, so that the router learns nothing from the task.
    for (int t = 0; t < tokens && top_k == 1; ++t) result.weights.view().row<float>(t)[0] = 1;
    return result;
}

}  // namespace expar
