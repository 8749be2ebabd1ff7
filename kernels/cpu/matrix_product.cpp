#include "expar/compute/matrix_product.hpp"

#include <algorithm>
#include <vector>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

// A part of one result that one thread computes.
struct Task {
    std::size_t group;
    int first_row, rows;
    int first_column, columns;
};

struct TaskSize {
    int rows, columns;
};

// Cuts the results of all groups into tasks of about `size`: two or more per thread, so that none waits long for
// another.
std::vector<Task> cut(std::span<const int> rows_of_group, int columns, TaskSize size, int threads) {
    constexpr int smallest = 64;  // whole panels of either instruction set
    const auto parts = [](int length, int part) { return long(length + part - 1) / part; };
    const auto count = [&] {
        long tasks = 0;
        for (const int rows : rows_of_group) tasks += parts(columns, size.columns) * parts(rows, size.rows);
        return tasks;
    };
    while (threads > 1 && std::max(size.rows, size.columns) > smallest && count() < 2L * threads)
        (size.rows > size.columns ? size.rows : size.columns) /= 2;

    std::vector<Task> tasks;
    tasks.reserve(std::size_t(count()));
    for (std::size_t g = 0; g < rows_of_group.size(); ++g)
        for (int row = 0; row < rows_of_group[g]; row += size.rows)
            for (int column = 0; column < columns; column += size.columns)
                tasks.push_back({g, row, std::min(size.rows, rows_of_group[g] - row), column,
                                 std::min(size.columns, columns - column)});
    return tasks;
}

std::vector<int> lengths(std::span<const int> offsets) {
    std::vector<int> rows;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) rows.push_back(offsets[g + 1] - offsets[g]);
    return rows;
}

std::vector<FloatRows<const float*>> values_of(std::span<Weight* const> weights) {
    std::vector<FloatRows<const float*>> result;
    for (const Weight* weight : weights) result.push_back(floats(weight->values()));
    return result;
}

class CpuWeight final : public Weight {
public:
    using Weight::Weight;
    void changed() override {}
};

class CpuProduct final : public MatrixProduct {
public:
    explicit CpuProduct(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.product), activation_(make_cpu_activation(context)) {}
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    [[nodiscard]] std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const override {
        return std::make_unique<CpuWeight>(values, dtype);
    }

    void forward(const RowGroups& x, Rows y, Write write, Stream&) const override {
        const auto weights = values_of(x.weights);
        multiply(floats(x.rows), x.offsets, floats(y), write,
                 [&](std::size_t group, int column, int columns, float* panel) {
                     const auto& weight = weights[group];
                     kernels_.pack_transposed(weight.row(column), weight.stride, columns, weight.cols, panel);
                 });
    }

    void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream&) const override {
        const auto weights = values_of(dy.weights);
        multiply(floats(dy.rows), dy.offsets, floats(dx), write,
                 [&](std::size_t group, int column, int columns, float* panel) {
                     const auto& weight = weights[group];
                     kernels_.pack(weight.data + column, weight.stride, weight.rows, columns, panel);
                 });
    }

    void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                           Stream& stream) const override {
        forward(x, inner, Write::assign, stream);
        activation_->forward(activation, inner, activated, stream);
    }

    void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                  Stream& stream) const override {
        std::vector<float> memory(std::size_t(activated.rows()) * std::size_t(activated.cols()));
        const Rows d_activated(memory.data(), activated.rows(), activated.cols(), activated.dtype());
        input_gradient(dy, d_activated, Write::assign, stream);
        activation_->forward(activation, inner, activated, stream);
        activation_->backward(activation, inner, d_activated, inner, stream);
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream&) const override {
        const auto left = floats(dy);
        const auto right = floats(x);
        std::vector<FloatRows<float*>> results;
        std::vector<int> rows_of_group;
        for (const Rows& result : dw) {
            results.push_back(floats(result));
            rows_of_group.push_back(result.rows());
        }
        const auto tasks = cut(rows_of_group, x.cols(), {1024, 256}, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const Task& task = tasks[std::size_t(i)];
            const auto& result = results[task.group];
            for (int n = 0; write == Write::assign && n < task.rows; ++n)
                std::fill_n(result.row(task.first_row + n) + task.first_column, task.columns, 0.0F);
            for (int first = offsets[task.group]; first < offsets[task.group + 1]; first += block_rows) {
                const int rows = std::min(block_rows, offsets[task.group + 1] - first);
                add_block(left.slice(first, rows), right.slice(first, rows), task, result, scratch);
            }
        });
    }

private:
    // y (+)= x b, where pack(group, column, columns, panel) writes a panel of a group's b. The panels of a task pass
    // one block of rows after the other, so that rows of x and y are used while they are near.
    template <class Pack>
    void multiply(FloatRows<const float*> x, std::span<const int> offsets, FloatRows<float*> y, Write write,
                  Pack pack) const {
        constexpr int rows_at_once = 84;  // whole tiles of either instruction set
        const std::size_t panel_floats = std::size_t(x.cols) * kernels_.panel_columns;
        const auto tasks = cut(lengths(offsets), y.cols, {512, 128}, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const Task& task = tasks[std::size_t(i)];
            const int panels = (task.columns + kernels_.panel_columns - 1) / kernels_.panel_columns;
            float* memory = scratch.floats(panel_floats * panels);
            const auto columns = [&](int p) {
                return std::min(kernels_.panel_columns, task.columns - p * kernels_.panel_columns);
            };
            for (int p = 0; p < panels; ++p)
                pack(task.group, task.first_column + p * kernels_.panel_columns, columns(p), memory + p * panel_floats);
            const int end = offsets[task.group] + task.first_row + task.rows;
            for (int row = offsets[task.group] + task.first_row; row < end; row += rows_at_once)
                for (int p = 0; p < panels; ++p)
                    kernels_.multiply({.rows = std::min(rows_at_once, end - row),
                                       .columns = columns(p),
                                       .depth = x.cols,
                                       .a = x.row(row),
                                       .a_stride = x.stride,
                                       .a_transposed = false,
                                       .b = memory + p * panel_floats,
                                       .c = y.row(row) + task.first_column + p * kernels_.panel_columns,
                                       .c_stride = y.stride,
                                       .add = write == Write::add});
        });
    }

    // The task's part of dw += dyᵀ x for one block of rows. dy is copied to rows a little apart from a power of two,
    // which would crowd few lines of the cache.
    void add_block(FloatRows<const float*> dy, FloatRows<const float*> x, const Task& task, FloatRows<float*> dw,
                   Scratch& scratch) const {
        const int panel_columns = kernels_.panel_columns;
        const int stride = (task.rows + 15) / 16 * 16 + 16;
        float* left = scratch.floats(std::size_t(block_rows) * (stride + panel_columns));
        float* panel = left + std::ptrdiff_t(block_rows) * stride;
        for (int t = 0; t < dy.rows; ++t)
            std::copy_n(dy.row(t) + task.first_row, task.rows, left + std::ptrdiff_t(t) * stride);
        for (int column = 0; column < task.columns; column += panel_columns) {
            const int columns = std::min(panel_columns, task.columns - column);
            kernels_.pack(x.data + task.first_column + column, x.stride, x.rows, columns, panel);
            kernels_.multiply({.rows = task.rows,
                               .columns = columns,
                               .depth = x.rows,
                               .a = left,
                               .a_stride = stride,
                               .a_transposed = true,
                               .b = panel,
                               .c = dw.row(task.first_row) + task.first_column + column,
                               .c_stride = dw.stride,
                               .add = true});
        }
    }

    const Threads& threads_;
    const ProductKernels& kernels_;
    std::unique_ptr<ActivationOperations> activation_;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_cpu_product(CpuContext context) {
    return std::make_unique<CpuProduct>(context);
}

}  // namespace expar
