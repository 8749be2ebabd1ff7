#pragma once

#include "attention_tasks.hpp"
#include "threads.hpp"

namespace expar {

/// The gradients of attention, probabilities made again from log_sum_exp block by block. A task is all queries of a
/// sequence that share a key head: its keys' gradients are summed in scratch memory, in the order of head and query.
template <class Element>
class AttentionBackward {
public:
    struct Rows {
        FloatRows<const Element*> q, k, v, out;
        FloatRows<const float*> log_sum_exp;
        FloatRows<const Element*> d_out;
        FloatRows<Element*> d_q, d_k, d_v;
    };
    AttentionBackward(const AttentionKernels& kernels, const AttentionShape& shape, const Rows& rows)
        : kernels_(kernels),
          shape_(shape),
          rows_(rows),
          stride_((shape.head_size + kernels_.vector_floats - 1) / kernels_.vector_floats * kernels_.vector_floats) {}

    void run(const AttentionTask& task, Scratch& scratch) const {
        run_in_parts(
            task, kernels_.lanes, [&](int keys, int queries) { return cut(keys, queries, scratch); },
            [this](const AttentionTask& part, const Memory& memory) { add_part(part, memory); });
    }

protected:
    // Cuts scratch memory for all keys and some queries, and adds part by part of the queries to the sums in it.
    template <class Cut, class AddPart>
    void run_in_parts(const AttentionTask& task, int lanes, Cut cut_memory, AddPart add) const {
        const int most = lanes * std::max(1, attention_blocks_at_once / (shape_.heads / shape_.kv_heads));
        const auto memory = cut_memory(task.keys.count, std::min(most, task.queries.count));
        std::fill_n(memory.d_k, task.keys.count * stride_, 0.0F);
        std::fill_n(memory.d_v, task.keys.count * stride_, 0.0F);
        for (int first = 0; first < task.queries.count; first += most)
            add(task.part(first, std::min(most, task.queries.count - first)), memory);
        write(memory.d_k, attention_scale(shape_.head_size), head(rows_.d_k, task.keys, task.kv_head), memory.factors);
        write(memory.d_v, 1, head(rows_.d_v, task.keys, task.kv_head), memory.factors);
    }

    template <class Pointer>
    [[nodiscard]] FloatRows<Pointer> head(FloatRows<Pointer> rows, AttentionRange range, int head) const {
        return head_of(rows, range, head, shape_.head_size);
    }

    RowBlock read(FloatRows<const Element*> rows, float* to) const {
        const RowBlock copy{to, stride_, rows.rows, rows.cols};
        kernels_.rows.of<Element>().read(rows.data, rows.stride, copy);
        return copy;
    }

    // What the scores of a block's queries are to be less, and their gradients; 0 in the lanes of none.
    void start_sums(const QueryBlock& block, const float* d_out, float* scratch, float* log_sum, float* mean) const {
        const int lanes = kernels_.lanes, count = block.queries.count;
        kernels_.inner_products(read(head(rows_.out, block.queries, block.head), scratch), d_out, mean);
        for (int l = 0; l < count; ++l)
            log_sum[l] =
                float(double(rows_.log_sum_exp.row(block.queries.first + l)[block.head]) * std::numbers::log2e);
        std::fill(log_sum + count, log_sum + lanes, 0.0F);
        std::fill(mean + count, mean + lanes, 0.0F);
    }

    // Scores are scaled, which their gradients are not yet.
    void finish(const QueryBlock& block, float* sums, float* rows, float* factors) const {
        const auto d_q = head(rows_.d_q, block.queries, block.head);
        kernels_.transpose({sums, kernels_.lanes, d_q.cols, d_q.rows}, rows, stride_, 0);
        write(rows, attention_scale(d_q.cols), d_q, factors);
    }

    void write(float* sums, float factor, FloatRows<Element*> out, float* factors) const {
        std::fill_n(factors, attention_key_block, factor);
        for (int first = 0; first < out.rows; first += attention_key_block)
            kernels_.rows.of<Element>().write(
                factors, {sums + first * stride_, stride_, std::min(attention_key_block, out.rows - first), out.cols},
                out.row(first), out.stride);
    }

    const AttentionKernels& kernels_;
    const AttentionShape shape_;
    const Rows rows_;
    const long stride_;  // of rows in scratch memory: whole vectors

private:
    struct Block {
        float *q, *d_out, *q_rows, *d_out_rows, *log_sum, *mean, *d_q;
    };
    struct Memory {
        long q_floats, row_floats, lanes;
        float *k = nullptr, *v = nullptr, *d_k = nullptr, *d_v = nullptr;
        float *scores = nullptr, *d_scores = nullptr, *factors = nullptr, *rows = nullptr, *blocks = nullptr;

        [[nodiscard]] Block block(int index) const {
            Pieces own(blocks + index * block_floats(q_floats, row_floats, lanes));
            Block block{};
            for (float** piece : {&block.q, &block.d_out, &block.d_q}) *piece = own.take(q_floats);
            for (float** piece : {&block.q_rows, &block.d_out_rows}) *piece = own.take(row_floats);
            for (float** piece : {&block.log_sum, &block.mean}) *piece = own.take(lanes);
            return block;
        }
        static long block_floats(long q_floats, long row_floats, long lanes) {
            return 3 * q_floats + 2 * row_floats + 2 * lanes;
        }
    };

    [[nodiscard]] Memory cut(int keys, int queries, Scratch& scratch) const {
        const long lanes = kernels_.lanes, block = attention_key_block;
        Memory memory{.q_floats = lanes * shape_.head_size, .row_floats = lanes * stride_, .lanes = lanes};
        const long blocks = (queries + lanes - 1) / lanes * (shape_.heads / shape_.kv_heads);
        Pieces pieces(scratch.floats(
            std::size_t(2 * (Pieces::padded(keys * stride_) + block * (stride_ + lanes)) + block + memory.row_floats +
                        blocks * Memory::block_floats(memory.q_floats, memory.row_floats, lanes))));
        for (float** piece : {&memory.d_k, &memory.d_v}) *piece = pieces.take(keys * stride_);
        for (float** piece : {&memory.k, &memory.v}) *piece = pieces.take(block * stride_);
        for (float** piece : {&memory.scores, &memory.d_scores}) *piece = pieces.take(block * lanes);
        memory.factors = pieces.take(block);
        memory.rows = pieces.take(memory.row_floats);
        memory.blocks = pieces.take(0);
        return memory;
    }

    // All that the task's queries add to the gradients of their keys, and their own.
    void add_part(const AttentionTask& task, const Memory& memory) const {
        for_each_block(shape_, task, kernels_.lanes,
                       [&](const QueryBlock& block, int index) { start(block, memory.block(index), memory.rows); });
        AttentionBlock keys{.depth = shape_.head_size,
                            .scale = attention_scale2(shape_.head_size),
                            .k = memory.k,
                            .v = memory.v,
                            .key_stride = stride_};
        for_each_key_block(task, [&](AttentionRange range) {
            const AttentionRange rows{task.keys.first + range.first, range.count};
            read(head(rows_.k, rows, task.kv_head), memory.k);
            read(head(rows_.v, rows, task.kv_head), memory.v);
            for_each_block(shape_, task, kernels_.lanes, [&](const QueryBlock& block, int index) {
                see(keys, block, range);
                if (keys.keys > 0) kernels_.backward(keys, state(memory, index, range.first));
            });
        });
        for_each_block(shape_, task, kernels_.lanes, [&](const QueryBlock& block, int index) {
            const Block own = memory.block(index);
            finish(block, own.d_q, own.q_rows, memory.factors);
        });
    }

    [[nodiscard]] BackwardState state(const Memory& memory, int index, int first_key) const {
        const Block block = memory.block(index);
        return {.q = block.q,
                .d_out = block.d_out,
                .q_rows = block.q_rows,
                .d_out_rows = block.d_out_rows,
                .log_sum = block.log_sum,
                .mean = block.mean,
                .d_q = block.d_q,
                .d_k = memory.d_k + first_key * stride_,
                .d_v = memory.d_v + first_key * stride_,
                .scores = memory.scores,
                .d_scores = memory.d_scores};
    }

    void start(const QueryBlock& block, const Block& memory, float* scratch) const {
        const int lanes = kernels_.lanes, count = block.queries.count;
        const auto read_and_pack = [&](FloatRows<const Element*> all, float* rows, float* packed) {
            const RowBlock copy = read(head(all, block.queries, block.head), rows);
            std::fill(rows + count * stride_, rows + lanes * stride_, 0.0F);
            kernels_.transpose(copy, packed, lanes, lanes);
        };
        read_and_pack(rows_.q, memory.q_rows, memory.q);
        read_and_pack(rows_.d_out, memory.d_out_rows, memory.d_out);
        start_sums(block, memory.d_out_rows, scratch, memory.log_sum, memory.mean);
    }
};

}  // namespace expar
