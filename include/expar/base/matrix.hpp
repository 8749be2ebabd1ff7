#pragma once

#include <cstddef>
#include <span>
#include <type_traits>

#include "expar/base/buffer.hpp"

namespace expar {

/// A borrowed matrix: `rows` rows of `cols` elements, `stride` elements from one row to the next.
template <class Pointer>
class RowsView {
public:
    RowsView() = default;
    RowsView(Pointer data, int rows, int cols, DType dtype) : RowsView(data, rows, cols, dtype, cols) {}
    RowsView(Pointer data, int rows, int cols, DType dtype, std::ptrdiff_t stride)
        : data_(data), rows_(rows), cols_(cols), dtype_(dtype), stride_(stride) {}
    /// Rows are read where ConstRows are asked for.
    template <class Other>
    requires std::is_convertible_v<Other, Pointer> RowsView(
        const RowsView<Other>& other)  // NOLINT: implicit, as from T* to const T*
        : RowsView(other.data(), other.rows(), other.cols(), other.dtype(), other.stride()) {}

    [[nodiscard]] Pointer data() const { return data_; }
    [[nodiscard]] int rows() const { return rows_; }
    [[nodiscard]] int cols() const { return cols_; }
    [[nodiscard]] DType dtype() const { return dtype_; }
    [[nodiscard]] std::ptrdiff_t stride() const { return stride_; }
    [[nodiscard]] bool contiguous() const { return stride_ == cols_ || rows_ <= 1; }
    [[nodiscard]] std::size_t row_bytes() const { return std::size_t(cols_) * size_of(dtype_); }
    [[nodiscard]] std::size_t bytes() const { return std::size_t(rows_) * row_bytes(); }

    [[nodiscard]] RowsView slice(int first, int count) const { return {at(first, 0), count, cols_, dtype_, stride_}; }
    [[nodiscard]] RowsView columns(int first, int count) const { return {at(0, first), rows_, count, dtype_, stride_}; }

    /// Row r as elements of the host. Throws Error when the matrix is not of Ts.
    template <class T>
    [[nodiscard]] auto row(int r) const {
        using Element = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const T, T>;
        if (dtype_of<T> != dtype_)
            throw Error(concat("matrix: holds ", name_of(dtype_), ", read as ", name_of(dtype_of<T>)));
        return std::span<Element>(static_cast<Element*>(at(r, 0)), std::size_t(cols_));
    }

private:
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const std::byte, std::byte>;
    [[nodiscard]] Pointer at(int row, int col) const {
        if (!data_) return nullptr;
        return static_cast<Byte*>(data_) + (row * stride_ + col) * std::ptrdiff_t(size_of(dtype_));
    }

    Pointer data_ = nullptr;
    int rows_ = 0;
    int cols_ = 0;
    DType dtype_ = DType::float32;
    std::ptrdiff_t stride_ = 0;
};

using Rows = RowsView<void*>;
using ConstRows = RowsView<const void*>;

/// Owns rows x cols elements, contiguous, in a device's memory; undefined until written.
class Matrix {
public:
    Matrix() = default;
    Matrix(Device& device, DType dtype, int rows, int cols)
        : buffer_(device, dtype, std::size_t(rows) * std::size_t(cols)), rows_(rows), cols_(cols) {}

    [[nodiscard]] int rows() const { return rows_; }
    [[nodiscard]] int cols() const { return cols_; }
    [[nodiscard]] DType dtype() const { return buffer_.dtype(); }
    [[nodiscard]] Device& device() const { return buffer_.device(); }
    [[nodiscard]] Rows view() { return {buffer_.data(), rows_, cols_, dtype()}; }
    [[nodiscard]] ConstRows view() const { return {buffer_.data(), rows_, cols_, dtype()}; }
    operator Rows() { return view(); }             // NOLINT: an owner may stand where its view is asked for
    operator ConstRows() const { return view(); }  // NOLINT
    void zero(Stream& stream) { buffer_.zero(stream); }

private:
    Buffer buffer_;
    int rows_ = 0;
    int cols_ = 0;
};

/// Calls `work` with a value of the C++ type that `dtype` names: where a type of run time becomes one of C++. The types
/// of rows.
template <class Work>
void with_element(DType dtype, Work&& work) {
    switch (dtype) {
        case DType::float64:
            return work(double{});
        case DType::float32:
            return work(float{});
        case DType::bfloat16:
            return work(bfloat16{});
        case DType::int32:
            break;
    }
    throw Error(concat("expected bfloat16, float32 or float64, got ", name_of(dtype)));
}
/// Two of them.
template <class Work>
void with_elements(DType first, DType second, Work&& work) {
    with_element(first, [&](auto a) { with_element(second, [&](auto b) { work(a, b); }); });
}
/// The same for what is never bfloat16: parameters, statistics, a router's scores.
template <class Work>
void with_real(DType dtype, Work&& work) {
    switch (dtype) {
        case DType::float64:
            return work(double{});
        case DType::float32:
            return work(float{});
        case DType::bfloat16:
        case DType::int32:
            break;
    }
    throw Error(concat("expected float32 or float64, got ", name_of(dtype)));
}

}  // namespace expar
