#include "expar/compute/matrix_product.hpp"

#include <algorithm>
#include <vector>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

// One panel of columns of one result, for some of its rows.
struct Task {
    std::size_t group;
    int first_row;
    int rows;
    int first_column;
    int columns;
};

// Cuts the results of all groups into tasks: a panel is packed once per task, so that tasks should have many rows, and
// there should be several tasks per thread. Rows of the tasks follow each other panel by panel, to stay in the cache.
std::vector<Task> cut(std::span<const int> rows_of_group, int columns, int panel_columns, int threads) {
    constexpr int most_rows = 512, fewest_rows = 64;
    const int panels = (columns + panel_columns - 1) / panel_columns;
    int rows_of_task = most_rows;
    const auto count = [&] {
        long tasks = 0;
        for (const int rows : rows_of_group) tasks += long(panels) * ((rows + rows_of_task - 1) / rows_of_task);
        return tasks;
    };
    while (threads > 1 && rows_of_task > fewest_rows && count() < 4L * threads) rows_of_task /= 2;

    std::vector<Task> tasks;
    tasks.reserve(std::size_t(count()));
    for (std::size_t g = 0; g < rows_of_group.size(); ++g)
        for (int row = 0; row < rows_of_group[g]; row += rows_of_task)
            for (int column = 0; column < columns; column += panel_columns)
                tasks.push_back({g, row, std::min(rows_of_task, rows_of_group[g] - row), column,
                                 std::min(panel_columns, columns - column)});
    return tasks;
}

std::vector<int> lengths(std::span<const int> offsets) {
    std::vector<int> rows;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g) rows.push_back(offsets[g + 1] - offsets[g]);
    return rows;
}

std::vector<FloatRows<const float*>> all_floats(std::span<const ConstRows> matrices) {
    std::vector<FloatRows<const float*>> result;
    for (const ConstRows& matrix : matrices) result.push_back(floats(matrix));
    return result;
}

class CpuProduct final : public MatrixProduct {
public:
    explicit CpuProduct(CpuContext context) : threads_(context.threads), kernels_(context.kernels.product) {}
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    void forward(ConstRows x, std::span<const int> offsets, std::span<const ConstRows> w, Rows y, Write write,
                 Stream&) const override {
        const auto weights = all_floats(w);
        multiply(floats(x), offsets, floats(y), write, [&](const Task& task, float* panel) {
            const auto& weight = weights[task.group];
            kernels_.pack_transposed(weight.row(task.first_column), weight.stride, task.columns, weight.cols, panel);
        });
    }

    void input_gradient(ConstRows dy, std::span<const int> offsets, std::span<const ConstRows> w, Rows dx, Write write,
                        Stream&) const override {
        const auto weights = all_floats(w);
        multiply(floats(dy), offsets, floats(dx), write, [&](const Task& task, float* panel) {
            const auto& weight = weights[task.group];
            kernels_.pack(weight.data + task.first_column, weight.stride, weight.rows, task.columns, panel);
        });
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw,
                         Stream&) const override {
        const auto left = floats(dy);
        const auto right = floats(x);
        std::vector<FloatRows<float*>> results;
        std::vector<int> rows_of_group;
        for (const Rows& result : dw) {
            results.push_back(floats(result));
            rows_of_group.push_back(result.rows());
        }
        const auto tasks = cut(rows_of_group, x.cols(), kernels_.panel_columns, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const Task& task = tasks[std::size_t(i)];
            const auto& result = results[task.group];
            float* panel = scratch.floats(std::size_t(block_rows) * kernels_.panel_columns);
            for (int first = offsets[task.group]; first < offsets[task.group + 1]; first += block_rows) {
                const int depth = std::min(block_rows, offsets[task.group + 1] - first);
                kernels_.pack(right.row(first) + task.first_column, right.stride, depth, task.columns, panel);
                kernels_.multiply({.rows = task.rows,
                                   .columns = task.columns,
                                   .depth = depth,
                                   .a = left.row(first) + task.first_row,
                                   .a_row_stride = 1,
                                   .a_depth_stride = left.stride,
                                   .b = panel,
                                   .b_stride = kernels_.panel_columns,
                                   .c = result.row(task.first_row) + task.first_column,
                                   .c_stride = result.stride,
                                   .add = true});
            }
        });
    }

private:
    // y (+)= x b, where pack(task, panel) writes the panel of b that a task needs.
    template <class Pack>
    void multiply(FloatRows<const float*> x, std::span<const int> offsets, FloatRows<float*> y, Write write,
                  Pack pack) const {
        const auto tasks = cut(lengths(offsets), y.cols, kernels_.panel_columns, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const Task& task = tasks[std::size_t(i)];
            float* panel = scratch.floats(std::size_t(x.cols) * kernels_.panel_columns);
            pack(task, panel);
            const int first_row = offsets[task.group] + task.first_row;
            kernels_.multiply({.rows = task.rows,
                               .columns = task.columns,
                               .depth = x.cols,
                               .a = x.row(first_row),
                               .a_row_stride = x.stride,
                               .a_depth_stride = 1,
                               .b = panel,
                               .b_stride = kernels_.panel_columns,
                               .c = y.row(first_row) + task.first_column,
                               .c_stride = y.stride,
                               .add = write == Write::add});
        });
    }

    const Threads& threads_;
    const ProductKernels& kernels_;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_cpu_product(CpuContext context) {
    return std::make_unique<CpuProduct>(context);
}

}  // namespace expar
