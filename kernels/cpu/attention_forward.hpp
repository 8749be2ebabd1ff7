#pragma once

#include "attention_tasks.hpp"
#include "threads.hpp"

namespace expar {

/// Attention with a running maximum and sum over blocks of keys (Dao et al., "FlashAttention", 2022).
template <class Element>
class AttentionForward {
public:
    struct Rows {
        FloatRows<const Element*> q, k, v;
        FloatRows<Element*> out;
        FloatRows<float*> log_sum_exp;
    };
    AttentionForward(const AttentionKernels& kernels, const AttentionShape& shape, const Rows& rows)
        : kernels_(kernels), shape_(shape), rows_(rows) {}

    void run(const AttentionTask& task, Scratch& scratch) const {
        const Memory memory = cut(task, scratch);
        const int d = shape_.head_size;
        for_each_block(shape_, task, kernels_.lanes, [&](const QueryBlock& block, int index) {
            const RowBlock q = read(rows_.q, block.queries, block.head, memory.rows);
            kernels_.transpose(q, memory.block(index).q, kernels_.lanes, kernels_.lanes);
        });
        AttentionBlock keys{.depth = d, .scale = attention_scale2(d), .k = memory.k, .v = memory.v, .key_stride = d};
        for_each_key_block(task, [&](AttentionRange range) {
            const AttentionRange rows{task.keys.first + range.first, range.count};
            read(rows_.k, rows, task.kv_head, memory.k);
            read(rows_.v, rows, task.kv_head, memory.v);
            for_each_block(shape_, task, kernels_.lanes, [&](const QueryBlock& block, int index) {
                see(keys, block, range);
                if (keys.keys > 0) kernels_.forward(keys, memory.block(index).state);
            });
        });
        for_each_block(shape_, task, kernels_.lanes, [&](const QueryBlock& block, int index) {
            finish(block, memory.block(index).state, memory.rows);
        });
    }

protected:
    RowBlock read(FloatRows<const Element*> all, AttentionRange range, int head, float* to) const {
        const auto rows = head_of(all, range, head, shape_.head_size);
        const RowBlock copy{to, rows.cols, rows.rows, rows.cols};
        kernels_.rows.of<Element>().read(rows.data, rows.stride, copy);
        return copy;
    }

    void finish(const QueryBlock& block, const ForwardState& state, float* scratch) const {
        const auto out = head_of(rows_.out, block.queries, block.head, shape_.head_size);
        for (int l = 0; l < out.rows; ++l) {
            state.factor[l] = 1 / state.sum[l];
            rows_.log_sum_exp.row(block.queries.first + l)[block.head] =
                float(double(state.largest[l]) * std::numbers::ln2 + double(std::log(state.sum[l])));
        }
        kernels_.transpose({state.out, kernels_.lanes, out.cols, out.rows}, scratch, out.cols, 0);
        kernels_.rows.of<Element>().write(state.factor, {scratch, out.cols, out.rows, out.cols}, out.data, out.stride);
    }

    const AttentionKernels& kernels_;
    const AttentionShape shape_;
    const Rows rows_;

private:
    struct Block {
        float* q;
        ForwardState state;
    };
    struct Memory {
        float *k, *v, *scores, *factor, *rows, *blocks;
        long q_floats, lanes;

        [[nodiscard]] Block block(int index) const {
            Pieces own(blocks + index * block_floats(q_floats, lanes));
            float* q = own.take(q_floats);
            float* out = own.take(q_floats);
            float* largest = own.take(lanes);
            return {q, {q, out, largest, own.take(lanes), scores, factor}};
        }
        static long block_floats(long q_floats, long lanes) { return 2 * (q_floats + lanes); }
    };

    [[nodiscard]] Memory cut(const AttentionTask& task, Scratch& scratch) const {
        const long lanes = kernels_.lanes, d = shape_.head_size;
        const long q_floats = d * lanes, key_floats = Pieces::padded(attention_key_block * d);
        const long blocks = (task.queries.count + lanes - 1) / lanes * (shape_.heads / shape_.kv_heads);
        Pieces pieces(scratch.floats(std::size_t(2 * key_floats + (attention_key_block + 1) * lanes + q_floats +
                                                 blocks * Memory::block_floats(q_floats, lanes))));
        float* k = pieces.take(key_floats);
        float* v = pieces.take(key_floats);
        float* scores = pieces.take(attention_key_block * lanes);
        float* factor = pieces.take(lanes);
        float* rows = pieces.take(q_floats);
        return {k, v, scores, factor, rows, pieces.take(0), q_floats, lanes};
    }
};

}  // namespace expar
