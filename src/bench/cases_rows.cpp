#include <algorithm>
#include <numeric>

#include "cases.hpp"
#include "expar/base/random.hpp"
#include "expar/compute/activation.hpp"
#include "expar/compute/loss.hpp"
#include "expar/compute/norm.hpp"
#include "expar/compute/rows.hpp"

namespace expar {
namespace {

constexpr int tokens = 2048, hidden = 512, top_k = 2, width = 2048;
constexpr double epsilon = 1e-5;

std::string shape_of(int rows, int columns) {
    return concat(rows, " x ", columns);
}

std::vector<int> random_indices(int count, int below) {
    const RandomField field(1, Purpose::test);
    std::vector<int> indices;
    for (int i = 0; i < count; ++i) indices.push_back(int(field.below(std::uint64_t(below), std::uint64_t(i))));
    return indices;
}

std::vector<int> random_permutation(int count) {
    const RandomField field(2, Purpose::test);
    std::vector<int> permutation(std::size_t(count), 0);
    std::iota(permutation.begin(), permutation.end(), 0);
    for (int i = count - 1; i > 0; --i)
        std::swap(permutation[std::size_t(i)],
                  permutation[std::size_t(field.below(std::uint64_t(i) + 1, std::uint64_t(i)))]);
    return permutation;
}

void norm_forward(Device& device, Operands& m) {
    device.norm().forward(m[0], m[1], epsilon, m[2], m[3], device.stream());
}

std::vector<KernelCase> norm_cases(DType dtype) {
    const Operand x{Access::read, dtype, tokens, hidden}, weight{Access::read, DType::float32, 1, hidden};
    const Operand y{Access::written, dtype, tokens, hidden};
    KernelCase forward = kernel_case("rms_norm_forward", shape_of(tokens, hidden), dtype,
                                     {x, weight, y, {Access::written, DType::float32, tokens, 1}});
    forward.flops = 4.0 * tokens * hidden;
    forward.run = norm_forward;

    KernelCase backward = kernel_case(
        "rms_norm_backward", shape_of(tokens, hidden), dtype,
        {x, weight, y, {Access::read, DType::float32, tokens, 1}, x, {Access::updated, DType::float32, 1, hidden}});
    backward.flops = 10.0 * tokens * hidden;
    backward.prepare = norm_forward;  // for inverse_rms; dx is then written where y was
    backward.run = [](Device& device, Operands& m) {
        device.norm().backward({m[0], m[1], m[3]}, m[4], m[2], Write::assign, m[5], device.stream());
    };
    return {forward, backward};
}

std::vector<KernelCase> swiglu_cases(DType dtype) {
    const Operand inner{Access::read, dtype, tokens, 2 * width}, out{Access::written, dtype, tokens, width};
    KernelCase forward = kernel_case("swiglu_forward", shape_of(tokens, width), dtype, {inner, out});
    forward.flops = 5.0 * tokens * width;
    forward.run = [](Device& device, Operands& m) {
        device.activation().forward(Activation::swiglu, m[0], m[1], device.stream());
    };
    KernelCase backward =
        kernel_case("swiglu_backward", shape_of(tokens, width), dtype,
                    {inner, {Access::read, dtype, tokens, width}, {Access::written, dtype, tokens, 2 * width}});
    backward.flops = 12.0 * tokens * width;
    backward.run = [](Device& device, Operands& m) {
        device.activation().backward(Activation::swiglu, m[0], m[1], m[2], device.stream());
    };
    return {forward, backward};
}

// Logits are float32 at least, whatever rows are.
std::vector<KernelCase> loss_cases(int rows, int vocabulary) {
    const Operand logits{Access::read, DType::float32, rows, vocabulary, 3};
    const Operand column{Access::written, DType::float32, rows, 1};
    const auto targets = random_indices(rows, vocabulary);
    const auto run_forward = [targets](Device& device, Operands& m) {
        device.loss().forward(m[0], targets, m[1], m[2], device.stream());
    };
    KernelCase forward =
        kernel_case("cross_entropy_forward", shape_of(rows, vocabulary), DType::float32, {logits, column, column});
    forward.flops = 4.0 * rows * vocabulary;
    forward.traffic.read += 4.0 * rows;
    forward.run = run_forward;

    KernelCase backward = kernel_case(
        "cross_entropy_backward", shape_of(rows, vocabulary), DType::float32,
        {logits, {Access::written, DType::float32, rows, vocabulary}, {Access::read, DType::float32, rows, 1}});
    backward.flops = 3.0 * rows * vocabulary;
    backward.traffic.read += 4.0 * rows;
    backward.prepare = [targets](Device& device, Operands& m) {
        Matrix losses(device, DType::float32, m[0].rows(), 1);
        device.loss().forward(m[0], targets, losses, m[2], device.stream());
    };
    backward.run = [targets](Device& device, Operands& m) {
        device.loss().backward(m[0], targets, m[2], 1.0 / m[0].rows(), m[1], device.stream());
    };
    return {forward, backward};
}

std::vector<KernelCase> moving_cases(DType dtype) {
    constexpr int choices = tokens * top_k;
    const Operand few{Access::read, dtype, tokens, hidden}, many{Access::read, dtype, choices, hidden};
    const Operand few_out{Access::written, dtype, tokens, hidden}, many_out{Access::written, dtype, choices, hidden};
    const auto index = random_indices(choices, tokens);

    KernelCase gather =
        kernel_case("row_gather", concat(choices, " of ", shape_of(tokens, hidden)), dtype, {few, many_out});
    gather.traffic.read += 4.0 * choices;
    gather.run = [index](Device& device, Operands& m) {
        device.rows().gather(ConstRows(m[0]), index, m[1], device.stream());
    };

    const Operand weights{Access::read, DType::float32, choices, 1};
    KernelCase back = kernel_case("weighted_sum_backward", concat(choices, " of ", shape_of(tokens, hidden)), dtype,
                                  {few, many, weights, many_out, {Access::written, DType::float32, choices, 1}});
    back.traffic.read += 4.0 * choices;
    back.flops = 3.0 * choices * hidden;
    back.run = [index](Device& device, Operands& m) {
        device.rows().weighted_sum_backward(ConstRows(m[0]), index, {m[1], m[2]}, m[3], m[4], device.stream());
    };

    KernelCase sum = kernel_case("weighted_sum", concat(shape_of(tokens, hidden), " of ", top_k, " each"), dtype,
                                 {many, {Access::read, DType::float32, tokens, top_k}, few_out});
    sum.traffic.read += 4.0 * choices;
    sum.flops = 2.0 * choices * hidden;
    sum.run = [rows = random_permutation(choices)](Device& device, Operands& m) {
        device.rows().weighted_sum(ConstRows(m[0]), rows, m[1], m[2], device.stream());
    };
    return {gather, back, sum};
}

// The gradient of an embedding: rows of the step onto float32 masters.
KernelCase scatter_case(DType dtype, int vocabulary) {
    KernelCase result =
        kernel_case("scatter_add", concat(shape_of(tokens, hidden), " onto ", vocabulary), dtype,
                    {{Access::read, dtype, tokens, hidden}, {Access::updated, DType::float32, vocabulary, hidden}});
    result.traffic.read += 4.0 * tokens;
    result.flops = 1.0 * tokens * hidden;
    result.run = [index = random_indices(tokens, vocabulary)](Device& device, Operands& m) {
        device.rows().scatter_add(m[0], index, m[1], device.stream());
    };
    return result;
}

}  // namespace

std::vector<KernelCase> row_cases(DType rows) {
    std::vector<KernelCase> all;
    const auto add = [&](const std::vector<KernelCase>& some) { all.insert(all.end(), some.begin(), some.end()); };
    add(norm_cases(rows));
    add(swiglu_cases(rows));
    add(moving_cases(rows));
    all.push_back(scatter_case(rows, 256));
    if (rows != DType::float32) return all;
    add(loss_cases(tokens, 256));
    add(loss_cases(256, 32000));
    return all;
}

}  // namespace expar
