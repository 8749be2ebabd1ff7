#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "expar/base/device.hpp"
#include "expar/base/dtype.hpp"
#include "expar/base/error.hpp"

namespace expar {

/// Owns `count` elements in a device's memory, undefined until written. The device must outlive it.
class Buffer {
public:
    Buffer() = default;
    Buffer(Device& device, DType dtype, std::size_t count)
        : device_(&device), dtype_(dtype), count_(count), data_(count ? device.allocate(bytes()) : nullptr) {}
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        Buffer(std::move(other)).swap(*this);
        return *this;
    }
    ~Buffer() {
        if (data_) device_->release(data_, bytes());
    }

    [[nodiscard]] DType dtype() const { return dtype_; }
    [[nodiscard]] std::size_t count() const { return count_; }
    [[nodiscard]] std::size_t bytes() const { return count_ * size_of(dtype_); }
    [[nodiscard]] void* data() { return data_; }
    [[nodiscard]] const void* data() const { return data_; }
    [[nodiscard]] Device& device() const { return *device_; }

    void zero(Stream& stream) {
        if (data_) device_->fill_zero(data_, bytes(), stream);
    }

    /// The elements, in place. Throws Error when T is another type, or when the memory is not the host's.
    template <class T>
    [[nodiscard]] std::span<T> host() {
        check_host(dtype_of<T>);
        return {static_cast<T*>(data_), count_};
    }
    template <class T>
    [[nodiscard]] std::span<const T> host() const {
        check_host(dtype_of<T>);
        return {static_cast<const T*>(data_), count_};
    }

private:
    void swap(Buffer& other) noexcept {
        std::swap(device_, other.device_);
        std::swap(dtype_, other.dtype_);
        std::swap(count_, other.count_);
        std::swap(data_, other.data_);
    }
    void check_host(DType wanted) const {
        if (wanted != dtype_) throw Error(concat("buffer: holds ", name_of(dtype_), ", read as ", name_of(wanted)));
        if (device_ && device_->memory() != MemoryKind::host) throw Error("buffer: not in the host's memory");
    }

    Device* device_ = nullptr;
    DType dtype_ = DType::float32;
    std::size_t count_ = 0;
    void* data_ = nullptr;
};

/// A Buffer of one known type: the arrays of a routing or a plan.
template <class T>
class Array {
public:
    Array() : buffer_() {}
    Array(Device& device, std::size_t count) : buffer_(device, dtype_of<T>, count) {}

    [[nodiscard]] std::size_t size() const { return buffer_.count(); }
    /// For a device's operations, which may read where the host cannot.
    [[nodiscard]] std::span<T> view() { return {static_cast<T*>(buffer_.data()), size()}; }
    [[nodiscard]] std::span<const T> view() const { return {static_cast<const T*>(buffer_.data()), size()}; }
    /// For the host. Throws Error when the memory is not the host's.
    [[nodiscard]] std::span<T> host() { return size() ? buffer_.template host<T>() : std::span<T>(); }
    [[nodiscard]] std::span<const T> host() const { return size() ? buffer_.template host<T>() : std::span<const T>(); }

private:
    Buffer buffer_;
};

}  // namespace expar
