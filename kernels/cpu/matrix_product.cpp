#include "expar/compute/matrix_product.hpp"

#include <unistd.h>
#include <xmmintrin.h>

#include <algorithm>

#include "gradient_grid.hpp"
#include "operations.hpp"
#include "packed_weight.hpp"
#include "product_results.hpp"
#include "task_grid.hpp"

namespace expar {
namespace {

using Form = RightFactor::Form;

std::size_t near_cache_bytes() {
    const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return std::size_t(std::clamp<long>(bytes, 1L << 18, 1L << 21));
}

// Rows apart by so many floats fall on few lines of the cache, and those of a tile drive each other out.
constexpr bool crowds(long stride) {
    return stride % 512 == 0;
}
constexpr long apart(int columns) {
    return (columns + 15) / 16 * 16 + 16;
}

// Rows of a strip that is finished while it is near: whole tiles of either instruction set.
constexpr int most_strip_rows = 126;

void check_same_dtype(ConstRows inner, ConstRows activated) {
    if (inner.dtype() != activated.dtype())
        throw Error(concat("cpu: activations of ", name_of(inner.dtype()), " as ", name_of(activated.dtype()),
                           ", expected one dtype"));
}

class CpuProduct final : public MatrixProduct {
public:
    explicit CpuProduct(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels), activation_(make_cpu_activation(context)) {
        if (context.pairs) pairs_ = make_pair_product(context);
    }
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    [[nodiscard]] std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const override {
        if (on_pairs(dtype)) return pairs_->weight(values, dtype);
        return std::make_unique<PackedWeight>(values, dtype);
    }

    void forward(const RowGroups& x, Rows y, Write write, Stream& stream) const override {
        if (on_pairs(x)) return pairs_->forward(x, y, write, stream);
        multiply(x, Form::transposed, y.cols(), PlainResult{TargetRows(y), write == Write::add, kernels_.conversion});
    }

    void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream& stream) const override {
        if (on_pairs(dy)) return pairs_->input_gradient(dy, dx, write, stream);
        multiply(dy, Form::plain, dx.cols(), PlainResult{TargetRows(dx), write == Write::add, kernels_.conversion});
    }

    void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                           Stream& stream) const override {
        const int parts = inner_columns(activation);
        if (parts > 1 && activated.cols() % width_ != 0) {  // the second part would start within a panel
            forward(x, inner, Write::assign, stream);
            return activation_->forward(activation, inner, activated, stream);
        }
        check_same_dtype(inner, activated);
        if (on_pairs(x)) return pairs_->forward_activated(x, activation, inner, activated, stream);
        multiply(x, Form::transposed, activated.cols(),
                 ActivatedResult{parts, TargetRows(inner), TargetRows(activated),
                                 parted(kernels_.parted_activation, activation), kernels_.conversion});
    }

    void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                  Stream& stream) const override {
        check_same_dtype(inner, activated);
        if (on_pairs(dy)) return pairs_->input_gradient_activated(dy, activation, inner, activated, stream);
        multiply(dy, Form::plain, activated.cols(),
                 ActivatedGradient{inner_columns(activation), TargetRows(inner), TargetRows(activated),
                                   parted(kernels_.parted_activation, activation), kernels_.conversion});
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream& stream) const override {
        if (on_pairs(dy.dtype()) && on_pairs(x.dtype()))
            return pairs_->weight_gradient(dy, x, offsets, dw, write, stream);
        const SourceRows left(dy), right(x);
        const GradientGrid tasks(dw, 512, threads_.count());
        const bool past_caches = write == Write::assign && leave_caches(dw);
        threads_.for_each_task(tasks.count(), [&](long i, Scratch& scratch) {
            const GradientPart part = tasks.at(i);
            const Factors factors{left, right, offsets[part.group], offsets[part.group + 1], part.row, part.column};
            add_outer_products(factors, floats(part.of(dw)), {write, past_caches}, scratch);
        });
    }

private:
    [[nodiscard]] bool on_pairs(DType dtype) const { return pairs_ && dtype == DType::bfloat16; }
    [[nodiscard]] bool on_pairs(const RowGroups& groups) const {
        return !groups.weights.empty() && on_pairs(groups.weights.front()->dtype());
    }

    struct Area {
        int rows, columns;
    };

    // Rows first … end of the left factor's columns from left_column on and the right one's from right_column on.
    struct Factors {
        SourceRows dy, x;
        int first, end;
        int left_column, right_column;
    };

    struct LeftRows {
        const float* data;
        long stride;
    };

    // Rows of a task that pass by all panels while they stay near.
    [[nodiscard]] int rows_at_once(int depth) const {
        constexpr int most = 1022;
        return int(std::clamp<std::size_t>(near_bytes_ / 2 / sizeof(float) / std::size_t(std::max(depth, 1)), 1, most));
    }

    template <class Result>
    void multiply(const RowGroups& in, Form form, int columns, const Result& result) const {
        if (in.weights.empty()) return;
        const SourceRows rows(in.rows);
        const bool copied = rows.narrow() || (crowds(rows.stride()) && columns >= 4 * width_);
        const TaskGrid tasks(in.offsets, (columns + width_ - 1) / width_,
                             {rows_at_once(rows.cols()), kernels_.product.tile_rows, threads_.count()});
        const bool packs_itself = tasks.panels_apart() && pack_in_tasks(in, form);
        if (!packs_itself) PackedWeight::pack(in, form, kernels_, threads_);
        threads_.for_each_task(tasks.count(), [&](long i, Scratch& scratch) {
            const GridTask task = tasks.at(i);
            const int first = in.offsets[task.group] + task.first_row;
            const int strip_rows = result.direct() ? task.rows : std::min(task.rows, most_strip_rows);
            const int panels = result.direct() ? 1 : strip_panels;
            const std::size_t strip_floats = std::size_t(result.parts) * strip_rows * panels * width_;
            float* memory = scratch.floats(strip_floats + (copied ? std::size_t(task.rows) * apart(rows.cols()) : 0));
            const LeftRows left = copied ? copy(rows, first, task.rows, memory + strip_floats)
                                         : LeftRows{rows.floats(first, 0), rows.stride()};
            const auto& weight = static_cast<const PackedWeight&>(*in.weights[task.group]);
            const Right right{weight, form, rows.cols(), columns, task.first_panel + task.panels};
            for (int p = task.first_panel; p < right.end; p += panels) {
                for (int own = p; packs_itself && own < std::min(right.end, p + panels); ++own)
                    for (int part = 0; part < result.parts; ++part)
                        weight.pack_panel(form, own + part * (columns / width_), kernels_, scratch);
                for (int row = 0; row < task.rows; row += strip_rows) {
                    const int strip_end = std::min(right.end, p + panels) * width_;
                    const Strip strip{.row = first + row,
                                      .rows = std::min(strip_rows, task.rows - row),
                                      .column = p * width_,
                                      .columns = std::min(columns, strip_end) - p * width_,
                                      .memory = memory,
                                      .memory_stride = long(panels) * width_};
                    multiply_strip({left.data + row * left.stride, left.stride}, right, strip, result);
                }
            }
        });
        for (std::size_t g = 0; packs_itself && g < in.weights.size(); ++g)
            if (in.offsets[g + 1] > in.offsets[g]) static_cast<PackedWeight&>(*in.weights[g]).end(form);
    }

    // Whether all weights with rows are stale, of one group each, and need no scratch: they are then packed where their
    // panels are used, which finds them near.
    [[nodiscard]] bool pack_in_tasks(const RowGroups& in, Form form) const {
        const auto has_rows = [&](std::size_t g) { return in.offsets[g + 1] > in.offsets[g]; };
        for (std::size_t g = 0; g < in.weights.size(); ++g) {
            if (!has_rows(g)) continue;
            if (in.weights[g]->dtype() != DType::float32) return false;
            for (std::size_t other = 0; other < g; ++other)
                if (in.weights[other] == in.weights[g] && has_rows(other)) return false;
            if (!static_cast<PackedWeight&>(*in.weights[g]).begin(form, kernels_.product)) return false;
        }
        return true;
    }

    // A task's right factor.
    struct Right {
        const PackedWeight& weight;
        Form form;
        int depth, columns;
        int end;  ///< of the task's panels
    };

    template <class Result>
    void multiply_strip(LeftRows left, const Right& right, const Strip& strip, const Result& result) const {
        for (int column = 0; column < strip.columns; column += width_) {
            const int p = (strip.column + column) / width_;
            const int count = std::min(width_, strip.columns - column);
            result.bring_near(strip, column, count);
            for (int part = 0; part < result.parts; ++part) {
                SumsPlace to = result.place(strip, part);
                to.data += column;
                const float* panel =
                    right.weight.panel(right.form, p + part * (right.columns / width_), kernels_.product);
                multiply_panel(left, {panel, right.depth, p + 1 < right.end}, {strip.rows, count}, to);
            }
        }
        result.finish(strip);
    }

    struct Panel {
        const float* data;
        int depth;
        bool followed;  ///< in memory by one that comes soon
    };

    void multiply_panel(LeftRows left, Panel panel, Area area, SumsPlace to) const {
        constexpr int depth_at_once = 1024;
        for (int first = 0; first == 0 || first < panel.depth; first += depth_at_once) {
            const int part = std::min(depth_at_once, panel.depth - first), rest = panel.depth - first - part;
            const int ahead = rest > 0 ? rest : panel.followed ? panel.depth : 0;
            kernels_.product.multiply({.rows = area.rows,
                                       .columns = area.columns,
                                       .depth = part,
                                       .a = left.data + first,
                                       .a_stride = left.stride,
                                       .b = panel.data + std::ptrdiff_t(first) * width_,
                                       .c = to.data,
                                       .c_stride = to.stride,
                                       .add = to.add || first > 0,
                                       .after_b = long(std::min(part, ahead)) * width_});
        }
    }

    [[nodiscard]] LeftRows copy(const SourceRows& rows, int first, int count, float* to) const {
        const long stride = apart(rows.cols());
        for (int r = 0; r < count; ++r) copy_row(rows, first + r, 0, rows.cols(), to + r * stride);
        return {to, stride};
    }
    void copy_row(const SourceRows& rows, int row, int column, int count, float* to) const {
        if (rows.narrow())
            kernels_.conversion.widen(rows.bits(row, column), to, count);
        else
            std::copy_n(rows.floats(row, column), count, to);
    }

    // dw (+)= dyᵀ x. Rows of both are taken in parts, whose products continue the same sums.
    void add_outer_products(const Factors& in, FloatRows<float*> dw, Writing writing, Scratch& scratch) const {
        const Write write = writing.write;
        const ProductKernels& product = kernels_.product;
        for (int n = 0; in.first == in.end && write == Write::assign && n < dw.rows; ++n)
            std::fill_n(dw.row(n), dw.cols, 0.0F);
        const bool few = in.end - in.first <= few_rows;
        const bool past_caches = writing.past_caches && few && starts_lines(dw);
        const int longest = std::min(depth_of_gradient_, in.end - in.first);
        const std::size_t left_floats =
            (longest + 1) * std::size_t(product.left_columns) * ((dw.rows + product.tile_rows - 1) / product.tile_rows);
        const std::size_t right_floats = panel_apart(longest) * ((dw.cols + width_ - 1) / width_);
        const std::size_t wide_floats = longest * std::size_t(apart(std::max(dw.rows, dw.cols)));
        const bool widened = in.dy.narrow() || in.x.narrow();
        float* left = scratch.floats(left_floats + right_floats + (widened ? wide_floats : 0));
        float* right = left + left_floats;
        float* wide = right + right_floats;
        for (int first = in.first; first < in.end; first += depth_of_gradient_) {
            const int depth = std::min(depth_of_gradient_, in.end - first);
            const LeftRows dy = floats_of(in.dy, {first, depth}, {in.left_column, dw.rows}, wide);
            product.pack_left(dy.data, dy.stride, depth, dw.rows, left);
            pack_right(floats_of(in.x, {first, depth}, {in.right_column, dw.cols}, wide), {depth, dw.cols}, right);
            const bool add = write == Write::add || first > in.first;
            if (few)
                product.add_outer_products({.rows = dw.rows,
                                            .columns = dw.cols,
                                            .depth = depth,
                                            .a = left,
                                            .b = right,
                                            .b_stride = panel_apart(depth),
                                            .c = dw.data,
                                            .c_stride = dw.stride,
                                            .add = add,
                                            .past_caches = past_caches});
            else
                multiply_along_columns({left, right, depth}, dw, add);
            if (past_caches) _mm_sfence();
        }
    }

    // Of an outer product.
    struct PackedFactors {
        const float *left, *right;
        int depth;
    };

    void multiply_along_columns(const PackedFactors& in, FloatRows<float*> dw, bool add) const {
        for (int column = 0; column < dw.cols; column += width_)
            kernels_.product.multiply({.rows = dw.rows,
                                       .columns = std::min(width_, dw.cols - column),
                                       .depth = in.depth,
                                       .a = in.left,
                                       .a_stride = 0,
                                       .a_tiled = true,
                                       .b = in.right + column / width_ * panel_apart(in.depth),
                                       .c = dw.data + column,
                                       .c_stride = dw.stride,
                                       .add = add});
    }

    [[nodiscard]] std::ptrdiff_t panel_apart(int depth) const { return std::ptrdiff_t(depth) * width_ + 16; }

    // Some rows of all panels after the other, so that rows are read in long runs.
    void pack_right(LeftRows in, Area area, float* to) const {
        constexpr int rows_at_once = 8;
        for (int row = 0; row < area.rows; row += rows_at_once)
            for (int column = 0; column < area.columns; column += width_)
                kernels_.product.pack(in.data + row * in.stride + column, in.stride,
                                      std::min(rows_at_once, area.rows - row), std::min(width_, area.columns - column),
                                      to + column / width_ * panel_apart(area.rows) + std::ptrdiff_t(row) * width_);
    }

    struct Range {
        int first, count;
    };
    // The rows themselves, or a wider copy in `memory`.
    [[nodiscard]] LeftRows floats_of(const SourceRows& in, Range rows, Range columns, float* memory) const {
        if (!in.narrow()) return {in.floats(rows.first, columns.first), in.stride()};
        const long stride = apart(columns.count);
        for (int r = 0; r < rows.count; ++r)
            kernels_.conversion.widen(in.bits(rows.first + r, columns.first), memory + r * stride, columns.count);
        return {memory, stride};
    }

    const Threads& threads_;
    const VectorKernels& kernels_;
    std::unique_ptr<ActivationOperations> activation_;
    std::unique_ptr<MatrixProduct> pairs_;  // what multiplies bfloat16, where an instruction does
    int width_ = kernels_.product.panel_columns;
    std::size_t near_bytes_ = near_cache_bytes();
    int depth_of_gradient_ = near_bytes_ >= (1U << 20) ? 256 : 128;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_cpu_product(CpuContext context) {
    return std::make_unique<CpuProduct>(context);
}

}  // namespace expar
