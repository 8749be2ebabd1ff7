#include "memory_pool.hpp"

#include <new>
#include <utility>

namespace expar {
namespace {

constexpr std::align_val_t alignment{64};
constexpr std::size_t header_bytes = 64;  // what follows it is aligned, too

}  // namespace

MemoryPool::~MemoryPool() {
    for (std::size_t index = 0; index < free_.size(); ++index)
        while (free_[index]) ::operator delete(take(index), alignment);
}

MemoryPool::Block* MemoryPool::take(std::size_t index) {
    return std::exchange(free_[index], free_[index]->next);
}

void* MemoryPool::allocate(std::size_t bytes) {
    static_assert(sizeof(Block) <= header_bytes);
    const SizeClass size = size_class_of(bytes);
    const PoolChoice choice = choose_block(size.index, [this](std::size_t index) { return free_[index] != nullptr; });
    if (choice.drop != PoolChoice::none) ::operator delete(take(choice.drop), alignment);
    Block* block = choice.take != PoolChoice::none ? take(choice.take)
                                                   : new (::operator new(header_bytes + size.bytes, alignment))
                                                         Block{size.index, nullptr};
    return reinterpret_cast<std::byte*>(block) + header_bytes;
}

void MemoryPool::release(void* data) noexcept {
    auto* block = reinterpret_cast<Block*>(static_cast<std::byte*>(data) - header_bytes);
    block->next = std::exchange(free_[block->index], block);
}

}  // namespace expar
