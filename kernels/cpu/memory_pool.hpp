#pragma once

#include <array>
#include <cstddef>

#include "expar/base/size_class.hpp"

namespace expar {

/// Host memory aligned to 64 bytes, kept after release and handed out again to requests of about the same size, so
/// that a training step touches no fresh page after the first.
class MemoryPool {
public:
    MemoryPool() = default;
    MemoryPool(MemoryPool&&) = delete;
    ~MemoryPool();

    [[nodiscard]] void* allocate(std::size_t bytes);
    void release(void* data) noexcept;

private:
    // In front of its memory.
    struct Block {
        std::size_t index;  // its size class
        Block* next;        // free one of the class
    };
    [[nodiscard]] Block* take(std::size_t index);

    std::array<Block*, SizeClass::count> free_{};
};

}  // namespace expar
