#include <xmmintrin.h>

#include <algorithm>

#include "gradient_grid.hpp"
#include "operations.hpp"
#include "pair_weight.hpp"
#include "product_results.hpp"
#include "task_grid.hpp"

namespace expar {
namespace {

using Form = RightFactor::Form;

constexpr int panel = pair_panel_columns;
constexpr int strip_columns = strip_panels * panel;
static_assert(strip_columns <= most_strip_columns);

class PairProducts final : public MatrixProduct {
public:
    explicit PairProducts(CpuContext context)
        : threads_(context.threads), kernels_(*context.pairs), activation_(context.kernels.parted_activation) {}

    [[nodiscard]] std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const override {
        return std::make_unique<PairWeight>(values, dtype);
    }

    void forward(const RowGroups& x, Rows y, Write write, Stream&) const override {
        multiply(x, Form::transposed, y.cols(), PlainResult{TargetRows(y), write == Write::add, kernels_.conversion});
    }

    void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream&) const override {
        multiply(dy, Form::plain, dx.cols(), PlainResult{TargetRows(dx), write == Write::add, kernels_.conversion});
    }

    void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                           Stream&) const override {
        multiply(x, Form::transposed, activated.cols(),
                 ActivatedResult{inner_columns(activation), TargetRows(inner), TargetRows(activated),
                                 parted(activation_, activation), kernels_.conversion});
    }

    void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                  Stream&) const override {
        multiply(dy, Form::plain, activated.cols(),
                 ActivatedGradient{inner_columns(activation), TargetRows(inner), TargetRows(activated),
                                   parted(activation_, activation), kernels_.conversion});
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream&) const override {
        const SourceRows left(dy), right(x);
        const GradientGrid tasks(dw, 512, threads_.count());
        const bool past_caches = write == Write::assign && leave_caches(dw);
        threads_.for_each_task(tasks.count(), [&](long i, Scratch& scratch) {
            const GradientPart part = tasks.at(i);
            const Range rows{offsets[part.group], offsets[part.group + 1]};
            add_outer_products({left, right, rows, part.row, part.column}, floats(part.of(dw)), {write, past_caches},
                               scratch);
        });
    }

private:
    struct Range {
        int first, end;
    };

    // Some rows of both factors; the left one's columns from left_column on and the right one's from right_column on.
    struct Factors {
        SourceRows dy, x;
        Range rows;
        int left_column, right_column;
    };

    template <class Result>
    void multiply(const RowGroups& in, Form form, int columns, const Result& result) const {
        if (in.weights.empty()) return;
        PairWeight::pack(in, form, kernels_, threads_);
        const SourceRows rows(in.rows);
        const int depth = whole_depth(rows.cols());
        const bool copied = !rows.narrow() || depth != rows.cols();
        const int near_rows = depth > 1024 ? 256 : 512;  // that stay near while all panels pass by
        const TaskGrid tasks(in.offsets, (columns + panel - 1) / panel, {near_rows, panel, threads_.count()});
        threads_.for_each_task(tasks.count(), [&](long i, Scratch& scratch) {
            const GridTask task = tasks.at(i);
            const int first = in.offsets[task.group] + task.first_row;
            const int strip_rows = std::min(kernels_.rows_at_once, task.rows);
            const std::size_t strip_floats = std::size_t(result.parts) * strip_rows * strip_columns;
            float* memory =
                scratch.floats(strip_floats + (copied ? std::size_t(task.rows) * std::size_t(depth) / 2 : 0));
            const bfloat16* left = copied ? pair_bits(memory + strip_floats) : rows.bits(first, 0);
            const long left_stride = copied ? depth : rows.stride();
            if (copied) copy_left(rows, first, task.rows, pair_bits(memory + strip_floats));
            const bfloat16* panels = static_cast<const PairWeight&>(*in.weights[task.group]).panels(form);
            const int end = std::min(columns, (task.first_panel + task.panels) * panel);
            kernels_.begin();
            for (int column = task.first_panel * panel; column < end; column += strip_columns)
                for (int row = 0; row < task.rows; row += strip_rows) {
                    const Strip strip{first + row, std::min(strip_rows, task.rows - row),
                                      column,      std::min(strip_columns, end - column),
                                      memory,      strip_columns};
                    for (int part = 0; part < result.parts; ++part) {
                        const SumsPlace to = result.place(strip, part);
                        kernels_.multiply({.rows = strip.rows,
                                           .columns = strip.columns,
                                           .depth = depth,
                                           .a = left + row * left_stride,
                                           .a_stride = left_stride,
                                           .b = panels + std::ptrdiff_t(part * columns + column) * depth,
                                           .c = to.data,
                                           .c_stride = to.stride,
                                           .add = to.add});
                    }
                    result.finish(strip);
                }
            kernels_.end();
        });
    }

    void copy_left(const SourceRows& rows, int first, int count, bfloat16* to) const {
        with_packing(rows, first, 0, [&](const auto& packing, const auto* from) {
            packing.left({from, rows.stride(), count, rows.cols()}, to, whole_depth(rows.cols()));
        });
    }

    // dw (+)= dyᵀ x. Rows of both are taken in parts, whose products continue the same sums.
    void add_outer_products(const Factors& in, FloatRows<float*> dw, Writing writing, Scratch& scratch) const {
        const Write write = writing.write;
        constexpr int most_depth = 512;
        const bool few = in.rows.end - in.rows.first <= few_rows;
        const bool past_caches = writing.past_caches && few && starts_lines(dw);
        const int longest = whole_depth(std::min(most_depth, in.rows.end - in.rows.first));
        const long stride = longest + 32;  // apart from a power of two, which would crowd few lines of the cache
        const std::size_t left_size = std::size_t(dw.rows) * stride;
        bfloat16* left = pair_bits(scratch.floats((left_size + std::size_t(longest) * whole_panels(dw.cols)) / 2));
        bfloat16* right = left + left_size;
        for (int n = 0; in.rows.first == in.rows.end && write == Write::assign && n < dw.rows; ++n)
            std::fill_n(dw.row(n), dw.cols, 0.0F);
        kernels_.begin();
        for (int first = in.rows.first; first < in.rows.end; first += most_depth) {
            const int count = std::min(most_depth, in.rows.end - first), depth = whole_depth(count);
            with_packing(in.dy, first, in.left_column, [&](const auto& packing, const auto* rows) {
                packing.left_transposed({rows, in.dy.stride(), count, dw.rows}, left, stride);
            });
            with_packing(in.x, first, in.right_column, [&](const auto& packing, const auto* rows) {
                packing.right({rows, in.x.stride(), count, dw.cols}, right);
            });
            // Of few terms, sums take longest to be written, which goes along the rows.
            const int rows = few ? kernels_.tile_rows : dw.rows, columns = few ? dw.cols : panel;
            for (int column = 0; column < dw.cols; column += columns)
                for (int row = 0; row < dw.rows; row += rows)
                    kernels_.multiply({.rows = std::min(rows, dw.rows - row),
                                       .columns = std::min(columns, dw.cols - column),
                                       .depth = depth,
                                       .a = left + row * stride,
                                       .a_stride = stride,
                                       .b = right + std::ptrdiff_t(column) * depth,
                                       .c = dw.row(row) + column,
                                       .c_stride = dw.stride,
                                       .add = write == Write::add || first > in.rows.first,
                                       .past_caches = past_caches});
            if (past_caches) _mm_sfence();
        }
        kernels_.end();
    }

    // Calls use(packing, pointer to an element), whichever type the rows have.
    template <class Use>
    void with_packing(const SourceRows& rows, int row, int column, Use use) const {
        if (rows.narrow())
            use(kernels_.from_bfloat16, rows.bits(row, column));
        else
            use(kernels_.from_float32, rows.floats(row, column));
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
