#pragma once

#include <algorithm>
#include <cmath>
#include <numbers>

#include "expar/compute/attention.hpp"
#include "floats.hpp"
#include "vector_kernels.hpp"

namespace expar {

constexpr int attention_key_block = 64;      ///< keys and values stay in the first cache beside a block of queries
constexpr int attention_blocks_at_once = 8;  ///< of queries, that read a block of keys while it is there

/// Some queries or keys of one sequence.
struct AttentionRange {
    int first;
    int count;
};

/// Some queries of one sequence, of the heads that share a key head; the first of them sees keys 0 … first_seen.
struct AttentionTask {
    AttentionRange queries, keys;
    int first_seen;
    int kv_head;

    [[nodiscard]] int seen() const { return first_seen + queries.count; }  ///< by the last of them
    /// `count` of its queries from `first` on, counted from its own first
    [[nodiscard]] AttentionTask part(int first, int count) const {
        return {{queries.first + first, count}, keys, first_seen + first, kv_head};
    }
};

/// Those of a task that are the lanes of one block.
struct QueryBlock {
    int head;
    AttentionRange queries;
    int first_seen;
};

/// Calls work(QueryBlock, index) for the blocks of a task, head by head.
template <class Work>
void for_each_block(const AttentionShape& shape, const AttentionTask& task, int lanes, Work work) {
    const int group = shape.heads / shape.kv_heads;
    int index = 0;
    for (int head = task.kv_head * group; head < (task.kv_head + 1) * group; ++head)
        for (int first = 0; first < task.queries.count; first += lanes)
            work(QueryBlock{head,
                            {task.queries.first + first, std::min(lanes, task.queries.count - first)},
                            task.first_seen + first},
                 index++);
}

/// Calls work(AttentionRange of keys, counted from the sequence's first) for the blocks of keys that a task sees. They
/// are counted from key 0, so that a query meets the same ones whatever queries are beside it.
template <class Work>
void for_each_key_block(const AttentionTask& task, Work work) {
    for (int first = 0; first < task.seen(); first += attention_key_block)
        work(AttentionRange{first, std::min(attention_key_block, task.seen() - first)});
}

/// What `block` sees of `range`: none when keys <= 0.
inline void see(AttentionBlock& keys, const QueryBlock& block, AttentionRange range) {
    keys.first = range.first == 0;
    keys.visible = block.first_seen - range.first;
    keys.keys = std::min(range.count, keys.visible + block.queries.count);
}

/// Cuts scratch memory into pieces, each on a line of its own.
class Pieces {
public:
    explicit Pieces(float* memory) : memory_(memory) {}
    float* take(long count) {
        float* piece = memory_;
        memory_ += padded(count);
        return piece;
    }
    static long padded(long count) { return (count + 15) / 16 * 16; }

private:
    float* memory_;
};

template <class Pointer>
FloatRows<Pointer> head_of(FloatRows<Pointer> rows, AttentionRange range, int head, int head_size) {
    return {rows.row(range.first) + long(head) * head_size, rows.stride, range.count, head_size};
}

inline float attention_scale(int head_size) {
    return float(1 / std::sqrt(double(head_size)));
}
/// Of scores that are exponents of two.
inline float attention_scale2(int head_size) {
    return float(std::numbers::log2e / std::sqrt(double(head_size)));
}

}  // namespace expar
