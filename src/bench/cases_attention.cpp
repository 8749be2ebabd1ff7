#include <numeric>

#include "cases.hpp"
#include "expar/compute/attention.hpp"

namespace expar {
namespace {

struct Sequences {
    int count, length, heads, head_size;

    [[nodiscard]] int rows() const { return count * length; }
    [[nodiscard]] int columns() const { return heads * head_size; }
    /// (query, key) of all heads that causality leaves
    [[nodiscard]] double pairs() const { return 0.5 * count * heads * double(length) * (length + 1); }
    [[nodiscard]] AttentionShape shape() const { return {heads, heads, head_size}; }
    [[nodiscard]] std::vector<int> offsets() const {
        std::vector<int> result;
        for (int s = 0; s <= count; ++s) result.push_back(s * length);
        return result;
    }
    [[nodiscard]] std::string name() const {
        return concat(count, " x ", length, ", ", heads, " heads of ", head_size);
    }
    /// The last head of the last sequence, in float64.
    [[nodiscard]] Matrix last_head(Device& reference, ConstRows rows, int width) const {
        return in_float64(reference, rows.slice((count - 1) * length, length).columns((heads - 1) * width, width));
    }
};

void forward(Device& device, Operands& m, const Sequences& shape) {
    const auto offsets = shape.offsets();
    device.attention().forward(shape.shape(), {offsets, offsets}, {m[0], m[1], m[2]}, m[3], m[4], device.stream());
}

void backward(Device& device, Operands& m, const Sequences& shape) {
    device.attention().backward(shape.shape(), shape.offsets(), {{m[0], m[1], m[2]}, m[3], m[4]}, m[5],
                                {m[6], m[7], m[8]}, device.stream());
}

// The same call of the last head of the last sequence alone.
template <class Call>
KernelCase::PartError last_head_error(const Sequences& shape, std::vector<std::size_t> outputs, Call call) {
    return [=](Device& reference, const Operands& before, const Operands& after) {
        const auto width = [&](std::size_t i) { return before[i].cols() / shape.heads; };
        Operands expected;
        for (std::size_t i = 0; i < before.matrices.size(); ++i)
            expected.matrices.push_back(shape.last_head(reference, before[i], width(i)));
        call(reference, expected, {1, shape.length, 1, shape.head_size});
        double error = 0;
        for (const std::size_t i : outputs)
            error = std::max(error, relative_error(shape.last_head(reference, after[i], width(i)), expected[i]));
        return error;
    };
}

KernelCase forward_case(DType dtype, const Sequences& shape) {
    const Operand rows{Access::read, dtype, shape.rows(), shape.columns()};
    const Operand out{Access::written, dtype, shape.rows(), shape.columns()};
    KernelCase result =
        kernel_case("attention_forward", shape.name(), dtype,
                    {rows, rows, rows, out, {Access::written, DType::float32, shape.rows(), shape.heads}});
    result.flops = (4.0 * shape.head_size + 4) * shape.pairs();
    result.run = [shape](Device& device, Operands& m) { forward(device, m, shape); };
    result.part_error = last_head_error(shape, {3, 4}, forward);
    return result;
}

KernelCase backward_case(DType dtype, const Sequences& shape) {
    const Operand rows{Access::read, dtype, shape.rows(), shape.columns()};
    const Operand out{Access::written, dtype, shape.rows(), shape.columns()};
    const Operand log_sum_exp{Access::read, DType::float32, shape.rows(), shape.heads};
    KernelCase result = kernel_case("attention_backward", shape.name(), dtype,
                                    {rows, rows, rows, rows, log_sum_exp, rows, out, out, out});
    result.flops = (10.0 * shape.head_size + 5) * shape.pairs();
    result.prepare = [shape](Device& device, Operands& m) { forward(device, m, shape); };
    result.run = [shape](Device& device, Operands& m) { backward(device, m, shape); };
    result.part_error = last_head_error(shape, {6, 7, 8}, backward);
    return result;
}

KernelCase rotary_case(DType dtype, int sequences, int length, int heads, int head_size) {
    const int rows = sequences * length, columns = heads * head_size;
    KernelCase result = kernel_case("rotary", concat(rows, " x ", columns, ", heads of ", head_size), dtype,
                                    {{Access::updated, dtype, rows, columns}});
    std::vector<int> positions;
    for (int row = 0; row < rows; ++row) positions.push_back(row % length);
    result.flops = 3.0 * rows * columns;
    result.traffic.read += 4.0 * rows;
    result.run = [=](Device& device, Operands& m) {
        device.attention().rotate(m[0], positions, head_size, 1e4, 1, device.stream());
    };
    return result;
}

}  // namespace

std::vector<KernelCase> attention_cases(DType rows) {
    constexpr Sequences short_ones{8, 256, 8, 32}, long_one{1, 2048, 8, 64};
    return {forward_case(rows, short_ones), backward_case(rows, short_ones), forward_case(rows, long_one),
            backward_case(rows, long_one), rotary_case(rows, 8, 256, 8, 64)};
}

}  // namespace expar
