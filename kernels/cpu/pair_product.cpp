#include <algorithm>
#include <vector>

#include "floats.hpp"
#include "operations.hpp"
#include "pair_weight.hpp"
#include "product_tasks.hpp"

namespace expar {
namespace {

using Form = PairWeight::Form;

// Rows of bfloat16 or of float32, as the loops read and write them.
template <class Pointer>
struct MixedRows {
    RowsView<Pointer> view;

    [[nodiscard]] bool narrow() const { return view.dtype() == DType::bfloat16; }
    [[nodiscard]] auto* bits(int row, int column) const { return at<std::uint16_t>(row, column); }
    [[nodiscard]] auto* floats(int row, int column) const { return at<float>(row, column); }

    explicit MixedRows(RowsView<Pointer> rows) : view(rows) {
        if (!narrow() && rows.dtype() != DType::float32)
            throw Error(concat("cpu: expected bfloat16 or float32, got ", name_of(rows.dtype())));
    }

private:
    template <class Element>
    [[nodiscard]] auto* at(int row, int column) const {
        using To = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const Element, Element>;
        return static_cast<To*>(view.data()) + row * view.stride() + column;
    }
};
using Source = MixedRows<const void*>;
using Target = MixedRows<void*>;

// A part of a result, its factors, and scratch memory for its sums: `parts` runs of `columns` for each row.
struct Block {
    int row, rows;
    int column, columns;
    const std::uint16_t* a;
    long a_stride;
    const std::uint16_t* panels;
    int depth;
    float* sums;
    long stride;

    [[nodiscard]] float* row_of_sums(int r) const { return sums + r * stride; }
};

const PartedActivation& parted(const PartedActivationKernels& kernels, Activation kind) {
    switch (kind) {
        case Activation::swiglu:
            return kernels.swiglu;
        case Activation::gelu:
            return kernels.gelu;
        case Activation::gelu_tanh:
            return kernels.gelu_tanh;
        case Activation::relu:
            return kernels.relu;
    }
    throw Error(concat("activation: unknown kind ", int(kind)));
}

constexpr int most_rows = 128;     // of a block
constexpr int most_columns = 128;  // of one of few rows
constexpr int block_floats = most_rows * pair_panel_columns;

class PairProducts final : public MatrixProduct {
public:
    explicit PairProducts(CpuContext context)
        : threads_(context.threads), kernels_(*context.pairs), activation_(context.kernels.parted_activation) {}

    [[nodiscard]] std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const override {
        return std::make_unique<PairWeight>(values, dtype);
    }

    void forward(const RowGroups& x, Rows y, Write write, Stream&) const override {
        multiply_rows(x, Form::transposed, y, write);
    }

    void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream&) const override {
        multiply_rows(dy, Form::plain, dx, write);
    }

    void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                           Stream&) const override {
        const Target to_inner(inner), to(activated);
        const int width = activated.cols(), parts = inner_columns(activation);
        const auto apply = parted(activation_, activation).forward;
        if (parts > 1 && width % pair_panel_columns != 0) {  // the second part starts within a panel
            multiply_rows(x, Form::transposed, inner, Write::assign);
            return activate_rows(to_inner, apply, to);
        }
        for_each_block(x, Form::transposed, {width, parts}, [&](const Block& block) {
            for (int part = 0; part < parts; ++part)
                multiply(block, part * width + block.column, block.sums + part * block.columns, block.stride, false);
            for (int r = 0; r < block.rows; ++r) {
                float result[most_columns];
                for (int part = 0; part < parts; ++part) {
                    float* sums = block.row_of_sums(r) + part * block.columns;
                    store(sums, to_inner, {block.row + r, part * width + block.column}, block.columns);
                    load(to_inner, {block.row + r, part * width + block.column}, sums, block.columns);
                }
                float* in = block.row_of_sums(r);
                apply({.in = in, .value = in + block.columns, .d_out = nullptr, .out = result}, block.columns);
                store(result, to, {block.row + r, block.column}, block.columns);
            }
        });
    }

    void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                  Stream&) const override {
        const Target in(inner), to(activated);
        const int width = activated.cols(), parts = inner_columns(activation);
        const auto apply = parted(activation_, activation).backward;
        for_each_block(dy, Form::plain, {width, 1}, [&](const Block& block) {
            multiply(block, block.column, block.sums, block.stride, false);
            for (int r = 0; r < block.rows; ++r) {
                float from[2 * most_columns], result[most_columns];
                for (int part = 0; part < parts; ++part)
                    load(in, {block.row + r, part * width + block.column}, from + part * block.columns, block.columns);
                apply({.in = from, .value = from + block.columns, .d_out = block.row_of_sums(r), .out = result},
                      block.columns);
                store(result, to, {block.row + r, block.column}, block.columns);
                for (int part = 0; part < parts; ++part)
                    store(from + part * block.columns, in, {block.row + r, part * width + block.column}, block.columns);
            }
        });
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream&) const override {
        const Source left(dy), right(x);
        std::vector<FloatRows<float*>> results;
        std::vector<int> rows_of_group;
        for (const Rows& result : dw) {
            results.push_back(floats(result));
            rows_of_group.push_back(result.rows());
        }
        const auto tasks = cut_product(rows_of_group, x.cols(), {512, 512}, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const ProductTask& task = tasks[std::size_t(i)];
            const FactorRows factors{left, right, offsets[task.group], offsets[task.group + 1]};
            add_outer_products(factors, task, results[task.group], write, scratch);
        });
    }

private:
    // Columns of a result, of which an activation makes one from `parts`, a width apart.
    struct Width {
        int columns, parts;
    };

    struct Place {
        int row, column;
    };

    // Calls work(block) for all parts of the result. Blocks of few rows are wide, so that what is done once for a
    // block costs little.
    template <class Work>
    void for_each_block(const RowGroups& x, Form form, Width width, Work work) const {
        if (x.weights.empty()) return;
        PairWeight::pack(x, form, kernels_, threads_);
        const Source rows(x.rows);
        const int depth = whole_depth(x.rows.cols());
        const bool copied = !rows.narrow() || depth != x.rows.cols();
        const ProductTaskSize size{depth > 1024 ? 256 : 512, 512};  // rows that stay near while all panels pass by
        const auto tasks = cut_product(lengths_of(x.offsets), width.columns, size, threads_.count());
        threads_.for_each_task(long(tasks.size()), [&](long i, Scratch& scratch) {
            const ProductTask& task = tasks[std::size_t(i)];
            const int first = x.offsets[task.group] + task.first_row;
            const std::size_t sums = std::size_t(block_floats) * width.parts;
            float* memory = scratch.floats(sums + (copied ? std::size_t(task.rows) * depth / 2 : 0));
            const std::uint16_t* a = copied ? pair_bits(memory + sums) : rows.bits(first, 0);
            if (copied)
                with_packing(rows, {first, 0}, {task.rows, x.rows.cols()}, [&](const auto& packing, const auto& from) {
                    packing.left(from, pair_bits(memory + sums), depth);
                });
            const long stride = copied ? depth : x.rows.stride();
            const int rows_at_once = std::min(most_rows, task.rows);
            const int columns_at_once =
                std::min(most_columns, block_floats / rows_at_once / pair_panel_columns * pair_panel_columns);
            kernels_.begin();
            for (int column = 0; column < task.columns; column += columns_at_once)
                for (int row = 0; row < task.rows; row += rows_at_once) {
                    const int columns = std::min(columns_at_once, task.columns - column);
                    work(Block{.row = first + row,
                               .rows = std::min(rows_at_once, task.rows - row),
                               .column = task.first_column + column,
                               .columns = columns,
                               .a = a + row * stride,
                               .a_stride = stride,
                               .panels = static_cast<const PairWeight&>(*x.weights[task.group]).panels(form),
                               .depth = depth,
                               .sums = memory,
                               .stride = long(columns) * width.parts});
                }
            kernels_.end();
        });
    }

    // The block's rows times block.columns columns of the right factor.
    void multiply(const Block& block, int column, float* to, long stride, bool add) const {
        kernels_.multiply({.rows = block.rows,
                           .columns = block.columns,
                           .depth = block.depth,
                           .a = block.a,
                           .a_stride = block.a_stride,
                           .b = block.panels + std::ptrdiff_t(column) * block.depth,
                           .c = to,
                           .c_stride = stride,
                           .add = add});
    }

    void multiply_rows(const RowGroups& x, Form form, Rows y, Write write) const {
        const Target to(y);
        const bool add = write == Write::add;
        for_each_block(x, form, {y.cols(), 1}, [&](const Block& block) {
            if (!to.narrow()) return multiply(block, block.column, to.floats(block.row, block.column), y.stride(), add);
            for (int r = 0; add && r < block.rows; ++r)
                load(to, {block.row + r, block.column}, block.row_of_sums(r), block.columns);
            multiply(block, block.column, block.sums, block.stride, add);
            for (int r = 0; r < block.rows; ++r)
                store(block.row_of_sums(r), to, {block.row + r, block.column}, block.columns);
        });
    }

    void activate_rows(const Target& inner, void (*apply)(const ActivationParts&, long), const Target& to) const {
        const int inputs = inner.view.cols(), outputs = to.view.cols();
        threads_.for_each_task(to.view.rows(), [&](long row, Scratch& scratch) {
            float* from = scratch.floats(std::size_t(inputs) + std::size_t(outputs));
            load(inner, {int(row), 0}, from, inputs);
            apply({.in = from, .value = from + outputs, .d_out = nullptr, .out = from + inputs}, outputs);
            store(from + inputs, to, {int(row), 0}, outputs);
        });
    }

    struct FactorRows {
        const Source &dy, &x;
        int first, end;
    };

    // The task's part of dw (+)= dyᵀ x. A depth in parts is one chain still.
    void add_outer_products(const FactorRows& factors, const ProductTask& task, FloatRows<float*> dw, Write write,
                            Scratch& scratch) const {
        constexpr int most_depth = 8 * block_rows;
        const int longest = whole_depth(std::min(most_depth, factors.end - factors.first));
        const long stride = longest + 32;  // apart from a power of two, which would crowd few lines of the cache
        const std::size_t left_size = std::size_t(task.rows) * stride;
        std::uint16_t* left =
            pair_bits(scratch.floats((left_size + std::size_t(longest) * whole_panels(task.columns)) / 2));
        std::uint16_t* right = left + left_size;
        if (factors.first == factors.end && write == Write::assign)
            for (int n = 0; n < task.rows; ++n)
                std::fill_n(dw.row(task.first_row + n) + task.first_column, task.columns, 0.0F);
        kernels_.begin();
        for (int first = factors.first; first < factors.end; first += most_depth) {
            const int count = std::min(most_depth, factors.end - first), depth = whole_depth(count);
            with_packing(factors.dy, {first, task.first_row}, {count, task.rows},
                         [&](const auto& packing, const auto& from) { packing.left_transposed(from, left, stride); });
            with_packing(factors.x, {first, task.first_column}, {count, task.columns},
                         [&](const auto& packing, const auto& from) { packing.right(from, right); });
            for (int column = 0; column < task.columns; column += pair_panel_columns)
                kernels_.multiply({.rows = task.rows,
                                   .columns = std::min(pair_panel_columns, task.columns - column),
                                   .depth = depth,
                                   .a = left,
                                   .a_stride = stride,
                                   .b = right + std::ptrdiff_t(column) * depth,
                                   .c = dw.row(task.first_row) + task.first_column + column,
                                   .c_stride = dw.stride,
                                   .add = write == Write::add || first > factors.first});
        }
        kernels_.end();
    }

    // Calls use(packing, source) for a part of `rows`, whichever type they have.
    template <class Use>
    void with_packing(const Source& rows, Place place, ProductTaskSize size, Use use) const {
        if (rows.narrow())
            use(kernels_.from_bfloat16, PairSource<std::uint16_t>{rows.bits(place.row, place.column),
                                                                  rows.view.stride(), size.rows, size.columns});
        else
            use(kernels_.from_float32,
                PairSource<float>{rows.floats(place.row, place.column), rows.view.stride(), size.rows, size.columns});
    }

    void load(const Target& from, Place place, float* to, int count) const {
        if (from.narrow())
            kernels_.widen(from.bits(place.row, place.column), to, count);
        else
            std::copy_n(from.floats(place.row, place.column), count, to);
    }
    void store(const float* from, const Target& to, Place place, int count) const {
        if (to.narrow())
            kernels_.round(from, to.bits(place.row, place.column), count);
        else
            std::copy_n(from, count, to.floats(place.row, place.column));
    }

    const Threads& threads_;
    const PairKernels& kernels_;
    const PartedActivationKernels& activation_;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_pair_product(CpuContext context) {
    return std::make_unique<PairProducts>(context);
}

}  // namespace expar
