#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace expar {

class MatrixProduct;
class RowOperations;
class RoutingOperations;
class ActivationOperations;
class NormOperations;
class AttentionOperations;
class LossOperations;
class UpdateOperations;

/// Where a buffer lives: whether the host may read it through a plain pointer.
enum class MemoryKind { host, cuda };

/// A queue of work of one device, in order. On a CPU work runs at once, when it is given.
class Stream {
public:
    virtual ~Stream() = default;
};

/// A processor: its memory, its streams, and its operations grouped by noun (headers of compute/).
///
/// Every operation may return before its work is done; results may be read after synchronize(), which is the host's
/// only wait. Operations need no lock: one thread drives a device.
class Device {
public:
    virtual ~Device() = default;

    [[nodiscard]] virtual std::string_view name() const = 0;
    [[nodiscard]] virtual MemoryKind memory() const = 0;

    /// Memory aligned to 64 bytes, content undefined. Released memory is kept and handed out again.
    [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;
    virtual void release(void* data, std::size_t bytes) noexcept = 0;
    virtual void fill_zero(void* data, std::size_t bytes, Stream& stream) = 0;
    virtual void copy(const void* from, void* to, std::size_t bytes, Stream& stream) = 0;

    [[nodiscard]] virtual Stream& stream() = 0;  ///< the default one
    virtual void synchronize() = 0;

    [[nodiscard]] virtual const MatrixProduct& product() const = 0;
    [[nodiscard]] virtual const RowOperations& rows() const = 0;
    [[nodiscard]] virtual const RoutingOperations& routing() const = 0;
    [[nodiscard]] virtual const ActivationOperations& activation() const = 0;
    [[nodiscard]] virtual const NormOperations& norm() const = 0;
    [[nodiscard]] virtual const AttentionOperations& attention() const = 0;
    [[nodiscard]] virtual const LossOperations& loss() const = 0;
    [[nodiscard]] virtual const UpdateOperations& update() const = 0;
};

/// The plain loops of kernels/reference, in float64, float32 or both, on the calling thread.
[[nodiscard]] std::unique_ptr<Device> make_reference_device();

}  // namespace expar
