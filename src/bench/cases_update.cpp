#include "cases.hpp"
#include "expar/compute/update.hpp"

namespace expar {
namespace {

constexpr int parameters = 4 << 20;  // about as many as an expert layer has on one rank

}  // namespace

std::vector<KernelCase> update_cases() {
    const DType dtype = DType::float32;
    const Operand flat{Access::updated, dtype, 1, parameters}, gradient{Access::read, dtype, 1, parameters};
    KernelCase adamw = kernel_case("adamw", concat(parameters), dtype,
                                   {gradient, flat, flat, {Access::updated, dtype, 1, parameters, 1, true}});
    adamw.flops = 17.0 * parameters;
    adamw.run = [](Device& device, Operands& m) {
        device.update().adamw({.weight_decay = 0.1, .gradient_scale = 0.5, .step = 3}, m[0], m[1], m[2], m[3],
                              device.stream());
    };

    KernelCase norm = kernel_case("gradient_norm", concat(parameters), dtype, {gradient});
    norm.flops = 2.0 * parameters;
    // The sum is written where a comparison finds it.
    norm.operands.push_back({Access::written, dtype, 1, 1});
    norm.run = [](Device& device, Operands& m) {
        const double sum = device.update().sum_of_squares(m[0], device.stream());
        with_real(m[1].dtype(), [&]<class Real>(Real) { m[1].view().row<Real>(0)[0] = Real(sum); });
    };
    return {adamw, norm};
}

}  // namespace expar
