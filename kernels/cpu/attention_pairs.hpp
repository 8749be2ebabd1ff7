#pragma once

#include <stdint.h>

#include "attention_backward.hpp"
#include "attention_forward.hpp"
#include "pair_kernels.hpp"

namespace expar {

// Attention to rows of bfloat16 by instructions that multiply pairs: the same blocks and the same order as with
// float32, sums in float32, and probabilities and the gradients of scores rounded to bfloat16 where they are factors.

inline constexpr int pair_lanes = pair_panel_columns;  ///< queries of a block: a panel of a product
static_assert(attention_key_block % pair_depth_multiple == 0);

inline int whole_pairs(int depth) {
    return (depth + pair_depth_multiple - 1) / pair_depth_multiple * pair_depth_multiple;
}

/// Pieces of 16 bits.
inline bfloat16* take_pairs(Pieces& pieces, long count) {
    return reinterpret_cast<bfloat16*>(pieces.take((count + 1) / 2));
}

inline PairSource<bfloat16> bits_of(FloatRows<const bfloat16*> rows) {
    return {rows.data, rows.stride, rows.rows, rows.cols};
}

class PairAttentionForward : AttentionForward<bfloat16> {
public:
    using AttentionForward<bfloat16>::Rows;
    PairAttentionForward(const AttentionKernels& kernels, const PairKernels& pairs, const AttentionShape& shape,
                         const Rows& rows)
        : AttentionForward(kernels, shape, rows), pairs_(pairs), depth_(whole_pairs(shape.head_size)) {}

    void run(const AttentionTask& task, Scratch& scratch) const {
        const Memory memory = cut(task, scratch);
        for_each_block(shape_, task, pair_lanes, [&](const QueryBlock& block, int index) {
            pairs_.from_bfloat16.right_transposed(bits_of(head(rows_.q, block.queries, block.head)),
                                                  memory.block(index).q);
        });
        AttentionBlock keys;
        keys.scale = attention_scale2(shape_.head_size);
        pairs_.begin();
        for_each_key_block(task, [&](AttentionRange range) {
            const AttentionRange rows{task.keys.first + range.first, range.count};
            pairs_.from_bfloat16.left(bits_of(head(rows_.k, rows, task.kv_head)), memory.k, depth_);
            pairs_.from_bfloat16.left_transposed(bits_of(head(rows_.v, rows, task.kv_head)), memory.v,
                                                 attention_key_block);
            for_each_block(shape_, task, pair_lanes, [&](const QueryBlock& block, int index) {
                see(keys, block, range);
                if (keys.keys > 0) attend(keys, memory, memory.block(index));
            });
        });
        pairs_.end();
        for_each_block(shape_, task, pair_lanes, [&](const QueryBlock& block, int index) {
            finish(block, memory.block(index).state, memory.rows);
        });
    }

private:
    struct Block {
        bfloat16* q;  // packed, transposed
        ForwardState state;
    };
    struct Memory {
        bfloat16 *k, *v, *weights;  // v transposed
        float *scores, *factor, *rows, *blocks;
        long depth, out_floats;

        [[nodiscard]] Block block(int index) const {
            Pieces own(blocks + index * block_floats(depth, out_floats));
            bfloat16* q = take_pairs(own, depth * pair_lanes);
            float* out = own.take(out_floats);
            float* largest = own.take(pair_lanes);
            return {q, {nullptr, out, largest, own.take(pair_lanes), scores, factor}};
        }
        static long block_floats(long depth, long out_floats) {
            return depth * pair_lanes / 2 + out_floats + 2 * pair_lanes;
        }
    };

    [[nodiscard]] FloatRows<const bfloat16*> head(FloatRows<const bfloat16*> rows, AttentionRange range,
                                                  int head) const {
        return head_of(rows, range, head, shape_.head_size);
    }

    [[nodiscard]] Memory cut(const AttentionTask& task, Scratch& scratch) const {
        constexpr long keys = attention_key_block;
        const long out_floats = long(shape_.head_size) * pair_lanes;
        const long blocks = (task.queries.count + pair_lanes - 1) / pair_lanes * (shape_.heads / shape_.kv_heads);
        Pieces pieces(scratch.floats(std::size_t(keys * depth_ + 2 * keys * pair_lanes + pair_lanes + out_floats +
                                                 blocks * Memory::block_floats(depth_, out_floats))));
        bfloat16* k = take_pairs(pieces, keys * depth_);
        bfloat16* v = take_pairs(pieces, keys * depth_);
        bfloat16* weights = take_pairs(pieces, keys * pair_lanes);
        float* scores = pieces.take(keys * pair_lanes);
        float* factor = pieces.take(pair_lanes);
        float* rows = pieces.take(out_floats);
        return {k, v, weights, scores, factor, rows, pieces.take(0), depth_, out_floats};
    }

    void attend(const AttentionBlock& keys, const Memory& memory, const Block& block) const {
        pairs_.multiply({.rows = keys.keys,
                         .columns = pair_lanes,
                         .depth = depth_,
                         .a = memory.k,
                         .a_stride = depth_,
                         .b = block.q,
                         .c = memory.scores,
                         .c_stride = pair_lanes,
                         .add = false});
        kernels_.soften(keys, block.state);
        if (!keys.first) kernels_.scale_lanes(memory.factor, block.state.out, shape_.head_size);
        pairs_.from_float32.right({memory.scores, pair_lanes, keys.keys, pair_lanes}, memory.weights);
        pairs_.multiply({.rows = shape_.head_size,
                         .columns = pair_lanes,
                         .depth = whole_pairs(keys.keys),
                         .a = memory.v,
                         .a_stride = attention_key_block,
                         .b = memory.weights,
                         .c = block.state.out,
                         .c_stride = pair_lanes,
                         .add = !keys.first});
    }

    const PairKernels& pairs_;
    const int depth_;  // of a head, for pairs
};

class PairAttentionBackward : AttentionBackward<bfloat16> {
public:
    using AttentionBackward<bfloat16>::Rows;
    PairAttentionBackward(const AttentionKernels& kernels, const PairKernels& pairs, const AttentionShape& shape,
                          const Rows& rows)
        : AttentionBackward(kernels, shape, rows), pairs_(pairs), depth_(whole_pairs(shape.head_size)) {}

    void run(const AttentionTask& task, Scratch& scratch) const {
        run_in_parts(
            task, pair_lanes, [&](int keys, int queries) { return cut(keys, queries, scratch); },
            [this](const AttentionTask& part, const Memory& memory) { add_part(part, memory); });
    }

private:
    // Queries and their gradients in panels: transposed for scores, as rows for the gradients of keys and values.
    struct Block {
        bfloat16 *q, *d_out, *q_rows, *d_out_rows;
        float *log_sum, *mean, *d_q;
    };
    struct Memory {
        long depth, query_floats, row_floats;
        bfloat16 *k = nullptr, *v = nullptr, *k_transposed = nullptr, *factor = nullptr;
        float *d_k = nullptr, *d_v = nullptr, *scores = nullptr, *d_scores = nullptr;
        float *factors = nullptr, *rows = nullptr, *d_out_rows = nullptr, *blocks = nullptr;

        [[nodiscard]] Block block(int index) const {
            Pieces own(blocks + index * block_floats());
            Block block{};
            for (bfloat16** piece : {&block.q, &block.d_out, &block.q_rows, &block.d_out_rows})
                *piece = take_pairs(own, depth * pair_lanes);
            for (float** piece : {&block.log_sum, &block.mean}) *piece = own.take(pair_lanes);
            block.d_q = own.take(query_floats);
            return block;
        }
        [[nodiscard]] long block_floats() const { return 2 * depth * pair_lanes + 2 * pair_lanes + query_floats; }
    };

    [[nodiscard]] Memory cut(int keys, int queries, Scratch& scratch) const {
        constexpr long block = attention_key_block;
        Memory memory{depth_, long(shape_.head_size) * pair_lanes, pair_lanes * stride_};
        const long blocks = (queries + pair_lanes - 1) / pair_lanes * (shape_.heads / shape_.kv_heads);
        Pieces pieces(scratch.floats(std::size_t(2 * Pieces::padded(keys * stride_) + 2 * block * depth_ +
                                                 3 * block * pair_lanes + block + 2 * memory.row_floats +
                                                 blocks * memory.block_floats())));
        for (float** piece : {&memory.d_k, &memory.d_v}) *piece = pieces.take(keys * stride_);
        for (bfloat16** piece : {&memory.k, &memory.v, &memory.k_transposed})
            *piece = take_pairs(pieces, block * depth_);
        memory.factor = take_pairs(pieces, block * pair_lanes);
        for (float** piece : {&memory.scores, &memory.d_scores}) *piece = pieces.take(block * pair_lanes);
        memory.factors = pieces.take(block);
        for (float** piece : {&memory.rows, &memory.d_out_rows}) *piece = pieces.take(memory.row_floats);
        memory.blocks = pieces.take(0);
        return memory;
    }

    void start(const QueryBlock& block, const Memory& memory, const Block& own) const {
        const auto pack = [&](FloatRows<const bfloat16*> all, bfloat16* transposed, bfloat16* rows) {
            const auto source = bits_of(head(all, block.queries, block.head));
            pairs_.from_bfloat16.right_transposed(source, transposed);
            pairs_.from_bfloat16.right(source, rows);
        };
        pack(rows_.q, own.q, own.q_rows);
        pack(rows_.d_out, own.d_out, own.d_out_rows);
        (void)read(head(rows_.d_out, block.queries, block.head), memory.d_out_rows);
        start_sums(block, memory.d_out_rows, memory.rows, own.log_sum, own.mean);
    }

    void add_part(const AttentionTask& task, const Memory& memory) const {
        for_each_block(shape_, task, pair_lanes,
                       [&](const QueryBlock& block, int index) { start(block, memory, memory.block(index)); });
        AttentionBlock keys;
        keys.scale = attention_scale2(shape_.head_size);
        pairs_.begin();
        for_each_key_block(task, [&](AttentionRange range) {
            const AttentionRange rows{task.keys.first + range.first, range.count};
            const auto k = bits_of(head(rows_.k, rows, task.kv_head));
            pairs_.from_bfloat16.left(k, memory.k, depth_);
            pairs_.from_bfloat16.left_transposed(k, memory.k_transposed, attention_key_block);
            pairs_.from_bfloat16.left(bits_of(head(rows_.v, rows, task.kv_head)), memory.v, depth_);
            for_each_block(shape_, task, pair_lanes, [&](const QueryBlock& block, int index) {
                see(keys, block, range);
                if (keys.keys > 0) attend(keys, memory, memory.block(index), range.first * stride_);
            });
        });
        pairs_.end();
        for_each_block(shape_, task, pair_lanes, [&](const QueryBlock& block, int index) {
            finish(block, memory.block(index).d_q, memory.rows, memory.factors);
        });
    }

    // first: where the block's keys begin in the sums of their gradients
    void attend(const AttentionBlock& keys, const Memory& memory, const Block& block, long first) const {
        const auto multiply = [&](const bfloat16* rows, const bfloat16* queries, float* scores) {
            pairs_.multiply({keys.keys, pair_lanes, depth_, rows, depth_, queries, scores, pair_lanes, false});
        };
        multiply(memory.k, block.q, memory.scores);
        multiply(memory.v, block.d_out, memory.d_scores);
        BackwardState state{};
        state.log_sum = block.log_sum;
        state.mean = block.mean;
        state.scores = memory.scores;
        state.d_scores = memory.d_scores;
        kernels_.score_gradients(keys, state);
        const auto add_to_keys = [&](const float* weights, const bfloat16* rows, float* sums) {
            pairs_.from_float32.left({weights, pair_lanes, keys.keys, pair_lanes}, memory.factor, pair_lanes);
            pairs_.multiply({keys.keys, shape_.head_size, pair_lanes, memory.factor, pair_lanes, rows, sums + first,
                             stride_, true});
        };
        add_to_keys(memory.scores, block.d_out_rows, memory.d_v);
        add_to_keys(memory.d_scores, block.q_rows, memory.d_k);
        pairs_.from_float32.right({memory.d_scores, pair_lanes, keys.keys, pair_lanes}, memory.factor);
        pairs_.multiply({shape_.head_size, pair_lanes, whole_pairs(keys.keys), memory.k_transposed, attention_key_block,
                         memory.factor, block.d_q, pair_lanes, !keys.first});
    }

    const PairKernels& pairs_;
    const int depth_;  // of a head, for pairs
};

}  // namespace expar
