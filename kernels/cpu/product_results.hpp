#pragma once

#include "expar/base/matrix.hpp"
#include "expar/compute/matrix_product.hpp"
#include "vector_kernels.hpp"

namespace expar {

// What a product's sums become. A task sums a strip of some rows and panels of columns, in parts (SwiGLU: gates and
// values), straight in the result where that is float32, else in memory beside; finish() turns it into the result
// while it is near.

/// Rows of float32 or bfloat16.
template <class Pointer>
class MixedRows {
public:
    explicit MixedRows(RowsView<Pointer> rows) : rows_(rows) {
        if (rows.dtype() != DType::float32 && rows.dtype() != DType::bfloat16)
            throw Error(concat("cpu: expected float32 or bfloat16, got ", name_of(rows.dtype())));
    }

    [[nodiscard]] bool narrow() const { return rows_.dtype() == DType::bfloat16; }
    [[nodiscard]] int cols() const { return rows_.cols(); }
    [[nodiscard]] long stride() const { return rows_.stride(); }
    [[nodiscard]] auto* floats(long row, long column) const { return at<float>(row, column); }
    [[nodiscard]] const char* bytes(long row, long column) const {
        return narrow() ? reinterpret_cast<const char*>(bits(row, column))
                        : reinterpret_cast<const char*>(floats(row, column));
    }
    [[nodiscard]] auto* bits(long row, long column) const { return at<bfloat16>(row, column); }

private:
    template <class Element>
    [[nodiscard]] auto* at(long row, long column) const {
        using To = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const Element, Element>;
        return static_cast<To*>(rows_.data()) + row * rows_.stride() + column;
    }

    RowsView<Pointer> rows_;
};
using SourceRows = MixedRows<const void*>;
using TargetRows = MixedRows<void*>;

struct Strip {
    int row, rows;
    int column, columns;
    float* memory;  ///< parts of [rows, memory_stride]
    long memory_stride;

    [[nodiscard]] float* at(int part, int r) const { return memory + (long(part) * rows + r) * memory_stride; }
};

[[nodiscard]] inline const PartedActivation& parted(const PartedActivationKernels& kernels, Activation kind) {
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

/// Where the sums of one part of a strip go.
struct SumsPlace {
    float* data;
    long stride;
    bool add;
};

inline constexpr int strip_panels = 4;  ///< so that rows are finished in runs of some lines of the cache
inline constexpr int most_strip_columns = 32 * strip_panels;

/// y (+)= the sums.
struct PlainResult {
    static constexpr int parts = 1;
    TargetRows y;
    bool add;
    const ConversionKernels& conversion;

    /// Whether nothing is left to finish.
    [[nodiscard]] bool direct() const { return !y.narrow(); }
    void bring_near(const Strip&, int, int) const {}
    [[nodiscard]] SumsPlace place(const Strip& strip, int) const {
        if (y.narrow()) return {strip.memory, strip.memory_stride, false};
        return {y.floats(strip.row, strip.column), y.stride(), add};
    }
    void finish(const Strip& strip) const {
        const auto write = add ? conversion.add_round : conversion.round;
        for (int r = 0; y.narrow() && r < strip.rows; ++r)
            write(strip.at(0, r), y.bits(strip.row + r, strip.column), strip.columns);
    }
};

/// inner = the sums, activated = f(inner as it is stored).
struct ActivatedResult {
    int parts;
    TargetRows inner, activated;
    PartedActivation activation;
    const ConversionKernels& conversion;

    [[nodiscard]] bool direct() const { return false; }
    void bring_near(const Strip&, int, int) const {}
    [[nodiscard]] SumsPlace place(const Strip& strip, int part) const {
        if (inner.narrow()) return {strip.at(part, 0), strip.memory_stride, false};
        return {inner.floats(strip.row, column(strip, part)), inner.stride(), false};
    }
    void finish(const Strip& strip) const {
        for (int r = 0; r < strip.rows; ++r) {
            const int row = strip.row + r;
            if (!inner.narrow()) {
                activation.forward({.in = inner.floats(row, strip.column),
                                    .value = parts > 1 ? inner.floats(row, column(strip, 1)) : nullptr,
                                    .d_out = nullptr,
                                    .out = activated.floats(row, strip.column)},
                                   strip.columns);
                continue;
            }
            for (int part = 0; part < parts; ++part) {
                bfloat16* to = inner.bits(row, column(strip, part));
                conversion.round(strip.at(part, r), to, strip.columns);
                conversion.widen(to, strip.at(part, r), strip.columns);
            }
            float out[most_strip_columns];
            activation.forward({strip.at(0, r), strip.at(1, r), nullptr, out}, strip.columns);
            conversion.round(out, activated.bits(row, strip.column), strip.columns);
        }
    }

private:
    [[nodiscard]] int column(const Strip& strip, int part) const { return part * activated.cols() + strip.column; }
};

/// The sums are d_activated: d_inner in the place of inner, and activated once more.
struct ActivatedGradient {
    static constexpr int parts = 1;
    int inner_parts;
    TargetRows inner, activated;
    PartedActivation activation;
    const ConversionKernels& conversion;

    [[nodiscard]] bool direct() const { return false; }
    /// What finish() reads of some of the strip's columns.
    void bring_near(const Strip& strip, int first, int count) const {
        const int bytes = count * int(inner.narrow() ? sizeof(bfloat16) : sizeof(float));
        for (int part = 0; part < inner_parts; ++part)
            for (int r = 0; r < strip.rows; ++r)
                for (int at = 0; at < bytes; at += 64)
                    __builtin_prefetch(inner.bytes(strip.row + r, column(strip, part) + first) + at, 1, 2);
    }
    [[nodiscard]] SumsPlace place(const Strip& strip, int) const { return {strip.memory, strip.memory_stride, false}; }
    void finish(const Strip& strip) const {
        for (int r = 0; r < strip.rows; ++r) inner.narrow() ? finish_bits(strip, r) : finish_floats(strip, r);
    }

private:
    void finish_floats(const Strip& strip, int r) const {
        const int row = strip.row + r;
        activation.backward({.in = inner.floats(row, strip.column),
                             .value = inner_parts > 1 ? inner.floats(row, column(strip, 1)) : nullptr,
                             .d_out = strip.at(0, r),
                             .out = activated.floats(row, strip.column)},
                            strip.columns);
    }
    void finish_bits(const Strip& strip, int r) const {
        const int row = strip.row + r;
        float in[2][most_strip_columns], out[most_strip_columns];
        for (int part = 0; part < inner_parts; ++part)
            conversion.widen(inner.bits(row, column(strip, part)), in[part], strip.columns);
        activation.backward({in[0], in[1], strip.at(0, r), out}, strip.columns);
        for (int part = 0; part < inner_parts; ++part)
            conversion.round(in[part], inner.bits(row, column(strip, part)), strip.columns);
        conversion.round(out, activated.bits(row, strip.column), strip.columns);
    }
    [[nodiscard]] int column(const Strip& strip, int part) const { return part * activated.cols() + strip.column; }
};

}  // namespace expar
