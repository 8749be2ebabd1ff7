#include "memory_pool.hpp"

#include <bit>
#include <new>

namespace expar {
namespace {

constexpr std::align_val_t alignment{64};

struct SizeClass {
    std::size_t index;
    std::size_t bytes;  // of every block of the class
};

// Sizes 256 and above it 2^n · {1, 1.25, 1.5, 1.75}, of which at most a fifth is unused.
SizeClass class_of(std::size_t bytes) {
    constexpr std::size_t smallest = 256;
    if (bytes <= smallest) return {0, smallest};
    const auto exponent = std::size_t(std::bit_width(bytes - 1)) - 1;
    const std::size_t quarter = std::size_t{1} << (exponent - 2);
    const std::size_t quarters = (bytes + quarter - 1) / quarter;  // 5 … 8
    return {exponent * 4 + quarters - 5, quarters * quarter};
}

}  // namespace

MemoryPool::~MemoryPool() {
    for (Free* block : free_)
        while (block) {
            Free* next = block->next;
            ::operator delete(block, alignment);
            block = next;
        }
}

void* MemoryPool::allocate(std::size_t bytes) {
    const SizeClass size = class_of(bytes);
    Free*& first = free_[size.index];
    if (!first) return ::operator new(size.bytes, alignment);
    Free* block = first;
    first = block->next;
    return block;
}

void MemoryPool::release(void* data, std::size_t bytes) noexcept {
    Free*& first = free_[class_of(bytes).index];
    first = new (data) Free{first};
}

}  // namespace expar
