#pragma once

#include <array>
#include <cstddef>

namespace expar {

/// Host memory aligned to 64 bytes, kept after release and handed out again to requests of about the same size, so
/// that a training step touches no fresh page after the first.
class MemoryPool {
public:
    MemoryPool() = default;
    MemoryPool(MemoryPool&&) = delete;
    ~MemoryPool();

    [[nodiscard]] void* allocate(std::size_t bytes);
    void release(void* data, std::size_t bytes) noexcept;

private:
    // A released block holds the address of the next one of its class.
    struct Free {
        Free* next;
    };
    static constexpr std::size_t classes = 256;  // four to every power of two

    std::array<Free*, classes> free_{};
};

}  // namespace expar
