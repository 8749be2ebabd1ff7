#include <algorithm>
#include <cmath>

#include "cases.hpp"
#include "expar/base/random.hpp"

namespace expar {
namespace {

// Rows of experts that one rank hosts, and the map that each applies: y = w x with w [outputs, inputs].
struct Experts {
    std::vector<int> offsets;
    int outputs = 0, inputs = 0;
    bool few_rows = false;  // for a weight: its bytes are what counts

    [[nodiscard]] int count() const { return int(offsets.size()) - 1; }
    [[nodiscard]] int rows() const { return offsets.back(); }
    [[nodiscard]] int rows_of(int group) const { return offsets[group + 1] - offsets[group]; }
    [[nodiscard]] double flops() const { return 2.0 * rows() * outputs * inputs; }
    [[nodiscard]] std::string name() const {
        return concat(count(), " groups, ", rows(), " x ", inputs, " -> ", outputs);
    }
};

std::vector<int> ragged_offsets(int groups, int least, int most) {
    const RandomField field(1, Purpose::test);
    std::vector<int> offsets = {0};
    for (int g = 0; g < groups; ++g)
        offsets.push_back(offsets.back() + least + int(field.below(std::uint64_t(most - least + 1), std::uint64_t(g))));
    return offsets;
}

// Calls work(RowGroups) for these rows and the weights of the operands.
template <class Work>
void with_groups(const Experts& experts, const Operands& o, ConstRows rows, Work work) {
    std::vector<Weight*> weights;
    for (const auto& weight : o.weights) weights.push_back(weight.get());
    work(RowGroups{rows, experts.offsets, weights});
}

// Operands are those of `rows`, then a weight or its gradient for every group.
KernelCase case_of(const Experts& experts, std::string kernel, DType dtype, std::vector<Operand> rows,
                   const Operand& weight) {
    const std::size_t first_weight = rows.size();
    rows.insert(rows.end(), std::size_t(experts.count()), weight);
    KernelCase result = kernel_case(std::move(kernel), experts.name(), dtype, std::move(rows));
    if (experts.few_rows) result.traffic = compulsory_traffic(std::span(result.operands).subspan(first_weight));
    result.flops = experts.flops();
    return result;
}

// Weights are read as products on such rows read them.
Operand weight_of(const Experts& e, DType dtype) {
    return {.access = Access::read,
            .dtype = DType::float32,
            .rows = e.outputs,
            .cols = e.inputs,
            .scale = 1 / std::sqrt(double(e.inputs)),
            .weight_for = dtype};
}

// A few rows of some groups stand for all: rows are independent. `call` computes on the reference device, from the
// operands of one group alone, what the operands `outputs` should be.
template <class Call>
KernelCase::PartError rows_error(const Experts& experts, std::vector<std::size_t> outputs, Call call) {
    return [=](Device& reference, const Operands& before, const Operands& after) {
        const std::size_t first_weight = before.matrices.size() - std::size_t(experts.count());
        double error = 0;
        for (const int group : {0, experts.count() / 2, experts.count() - 1}) {
            const int rows = std::min(4, experts.rows_of(group)), first = experts.offsets[group + 1] - rows;
            Operands part;
            for (std::size_t i = 0; i < first_weight; ++i)
                part.matrices.push_back(in_float64(reference, before[i].view().slice(first, rows)));
            part.matrices.push_back(in_float64(reference, before[first_weight + std::size_t(group)]));
            part.weights.push_back(reference.product().weight(part.matrices.back(), DType::float64));
            Experts one = experts;
            one.offsets = {0, rows};
            call(reference, part, one);
            for (const std::size_t i : outputs)
                error = std::max(error, relative_error(after[i].view().slice(first, rows), part[i]));
        }
        return error;
    };
}

template <class Call>
void call_with(KernelCase& result, const Experts& experts, std::vector<std::size_t> outputs, Call call) {
    result.run = [=](Device& device, Operands& o) { call(device, o, experts); };
    result.part_error = rows_error(experts, std::move(outputs), call);
}

KernelCase forward_case(DType dtype, const Experts& e) {
    KernelCase result =
        case_of(e, "product_forward", dtype,
                {{Access::read, dtype, e.rows(), e.inputs}, {Access::written, dtype, e.rows(), e.outputs}},
                weight_of(e, dtype));
    result.dense = {
        .rows = e.rows(), .columns = e.outputs, .depth = e.inputs, .b_transposed = true, .constant_b = true};
    call_with(result, e, {1}, [](Device& device, Operands& o, const Experts& experts) {
        with_groups(experts, o, o[0],
                    [&](const RowGroups& x) { device.product().forward(x, o[1], Write::assign, device.stream()); });
    });
    return result;
}

KernelCase input_gradient_case(DType dtype, const Experts& e) {
    KernelCase result =
        case_of(e, "product_input_gradient", dtype,
                {{Access::read, dtype, e.rows(), e.outputs}, {Access::written, dtype, e.rows(), e.inputs}},
                weight_of(e, dtype));
    result.dense = {.rows = e.rows(), .columns = e.inputs, .depth = e.outputs, .constant_b = true};
    call_with(result, e, {1}, [](Device& device, Operands& o, const Experts& experts) {
        with_groups(experts, o, o[0], [&](const RowGroups& dy) {
            device.product().input_gradient(dy, o[1], Write::assign, device.stream());
        });
    });
    return result;
}

KernelCase swiglu_forward_case(DType dtype, const Experts& e) {
    const int width = e.outputs / 2;
    KernelCase result = case_of(e, "product_swiglu_forward", dtype,
                                {{Access::read, dtype, e.rows(), e.inputs},
                                 {Access::written, dtype, e.rows(), e.outputs},
                                 {Access::written, dtype, e.rows(), width}},
                                weight_of(e, dtype));
    result.flops += 5.0 * e.rows() * width;
    call_with(result, e, {1, 2}, [](Device& device, Operands& o, const Experts& experts) {
        with_groups(experts, o, o[0], [&](const RowGroups& x) {
            device.product().forward_activated(x, Activation::swiglu, o[1], o[2], device.stream());
        });
    });
    return result;
}

KernelCase swiglu_input_gradient_case(DType dtype, const Experts& e) {
    KernelCase result = case_of(e, "product_swiglu_input_gradient", dtype,
                                {{Access::read, dtype, e.rows(), e.outputs},
                                 {Access::updated, dtype, e.rows(), 2 * e.inputs},
                                 {Access::written, dtype, e.rows(), e.inputs}},
                                weight_of(e, dtype));
    result.flops += 17.0 * e.rows() * e.inputs;
    call_with(result, e, {1, 2}, [](Device& device, Operands& o, const Experts& experts) {
        with_groups(experts, o, o[0], [&](const RowGroups& dy) {
            device.product().input_gradient_activated(dy, Activation::swiglu, o[1], o[2], device.stream());
        });
    });
    return result;
}

void weight_gradient(Device& device, Operands& o, const Experts& experts) {
    const std::vector<Rows> gradients(o.matrices.begin() + 2, o.matrices.end());
    device.product().weight_gradient(o[0], o[1], experts.offsets, gradients, Write::assign, device.stream());
}

KernelCase weight_gradient_case(DType dtype, const Experts& e) {
    KernelCase result = case_of(e, "product_weight_gradient", dtype,
                                {{Access::read, dtype, e.rows(), e.outputs}, {Access::read, dtype, e.rows(), e.inputs}},
                                {Access::written, DType::float32, e.outputs, e.inputs});
    result.dense = {.rows = e.outputs, .columns = e.inputs, .depth = e.rows(), .a_transposed = true, .wide_c = true};
    result.run = [e](Device& device, Operands& o) { weight_gradient(device, o, e); };
    // A few rows of some gradients stand for all.
    result.part_error = [e](Device& reference, const Operands& before, const Operands& after) {
        double error = 0;
        for (const int group : {0, e.count() / 2, e.count() - 1}) {
            const int rows = std::min(4, e.outputs), first = e.outputs - rows;
            const auto of_group = [&](const Matrix& m) { return m.view().slice(e.offsets[group], e.rows_of(group)); };
            Operands part;
            part.matrices.push_back(in_float64(reference, of_group(before[0]).columns(first, rows)));
            part.matrices.push_back(in_float64(reference, of_group(before[1])));
            part.matrices.emplace_back(reference, DType::float64, rows, e.inputs);
            weight_gradient(reference, part, Experts{{0, e.rows_of(group)}});
            const Matrix& gradient = after[2 + std::size_t(group)];
            error = std::max(error, relative_error(gradient.view().slice(first, rows), part[2]));
        }
        return error;
    };
    return result;
}

// Weights are packed by the first product that needs them after a change. That product is of one row for each: its
// reading of what was packed counts as well.
KernelCase pack_case(DType dtype, int count, int outputs, int inputs) {
    Experts e{{0}, outputs, inputs, true};
    for (int g = 0; g < count; ++g) e.offsets.push_back(g + 1);
    KernelCase result = case_of(e, "weight_packing", dtype,
                                {{Access::read, dtype, e.rows(), inputs}, {Access::written, dtype, e.rows(), outputs}},
                                weight_of(e, dtype));
    result.shape = concat(count, " of ", outputs, " x ", inputs, ", one row each");
    const double elements = double(count) * outputs * inputs;
    result.traffic = {.read = elements * double(size_of(DType::float32)),
                      .written = 0,
                      .updated = elements * double(size_of(dtype))};  // written, then read
    call_with(result, e, {1}, [](Device& device, Operands& o, const Experts& experts) {
        for (const auto& weight : o.weights) weight->changed();
        with_groups(experts, o, o[0],
                    [&](const RowGroups& x) { device.product().forward(x, o[1], Write::assign, device.stream()); });
    });
    return result;
}

}  // namespace

std::vector<KernelCase> product_cases(DType rows) {
    constexpr int hidden = 512, width = 2048;
    std::vector<KernelCase> all;
    for (const bool few_rows : {false, true}) {
        const auto offsets = few_rows ? ragged_offsets(64, 1, 64) : ragged_offsets(8, 64, 512);
        const Experts up{offsets, 2 * width, hidden, few_rows}, down{offsets, hidden, width, few_rows};
        for (const Experts& experts : {up, down})
            for (const auto make : {forward_case, input_gradient_case, weight_gradient_case})
                all.push_back(make(rows, experts));
        all.push_back(swiglu_forward_case(rows, up));
        all.push_back(swiglu_input_gradient_case(rows, down));
    }
    all.push_back(pack_case(rows, 8, 2 * width, hidden));
    return all;
}

}  // namespace expar
