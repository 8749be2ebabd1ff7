#include "expar/compute/attention.hpp"

#include <algorithm>
#include <cmath>

#include "attention_panels.hpp"
#include "floats.hpp"
#include "operations.hpp"
#include "rotary_table.hpp"

namespace expar {
namespace {

constexpr int query_block = 32;

FloatRows<const float*> head_of(FloatRows<const float*> rows, int head, int head_size) {
    return {rows.data + long(head) * head_size, rows.stride, rows.rows, head_size};
}
FloatRows<float*> head_of(FloatRows<float*> rows, int head, int head_size) {
    return {rows.data + long(head) * head_size, rows.stride, rows.rows, head_size};
}

// Cuts a piece of scratch memory off its front.
float* take(float*& memory, std::size_t count) {
    float* piece = memory;
    memory += (count + 15) / 16 * 16;
    return piece;
}

// The keys of one sequence and key head, or one block of queries that reads them.
struct Span {
    int first;
    int count;
};

// A block of queries: row r of it sees keys 0 … first_visible + r.
struct Block {
    Span queries;
    int first_visible;
    [[nodiscard]] int keys() const { return first_visible + queries.count; }  // seen by its last row
    [[nodiscard]] int seen(int row) const { return first_visible + row + 1; }
};

// Calls work(Block) for the blocks of a sequence whose last query sees all keys.
template <class Work>
void for_each_block(Span queries, Span keys, Work work) {
    for (int first = 0; first < queries.count; first += query_block)
        work(Block{{queries.first + first, std::min(query_block, queries.count - first)},
                   keys.count - queries.count + first});
}

// Rows of scores are a little apart from a power of two, which would crowd few lines of the cache.
int row_floats(int keys) {
    return (keys + 31) / 32 * 32 + 16;
}

struct Forward {
    AttentionShape shape;
    FloatRows<const float*> q, k, v;
    FloatRows<float*> out, log_sum_exp;
};

struct Backward {
    AttentionShape shape;
    FloatRows<const float*> q, k, v, out, log_sum_exp, d_out;
    FloatRows<float*> d_q, d_k, d_v;
};

class CpuAttention final : public AttentionOperations {
public:
    explicit CpuAttention(CpuContext context) : threads_(context.threads), kernels_(context.kernels) {}

    void rotate(Rows x, std::span<const int> positions, int head_size, double theta, int direction,
                Stream&) const override {
        if (x.rows() == 0) return;
        table_.prepare(head_size, theta, *std::ranges::max_element(positions));
        with_storage(x.dtype(), [&]<class Element>(Element) {
            const auto rows = elements<Element>(x);
            threads_.for_each_range(rows.rows, 64, [&](long first, long last) {
                for (long t = first; t < last; ++t) {
                    const int position = positions[std::size_t(t)];
                    kernels_.rotation.of<Element>().rotate(
                        {table_.cosine(position), table_.sine(position), float(direction), head_size / 2}, rows.row(t),
                        rows.cols / head_size);
                }
            });
        });
    }

    void forward(const AttentionShape& shape, const AttentionSpans& spans, const Inputs& in, Rows out, Rows log_sum_exp,
                 Stream&) const override {
        const Forward task{shape, floats(in.q), floats(in.k), floats(in.v), floats(out), floats(log_sum_exp)};
        for_each_key_head(shape, spans, [&](Span queries, Span keys, int kv_head, Scratch& scratch) {
            forward_key_head(task, queries, keys, kv_head, scratch);
        });
    }

    void backward(const AttentionShape& shape, std::span<const int> offsets, const Saved& saved, ConstRows d_out,
                  const Gradients& gradients, Stream&) const override {
        const Backward task{shape,
                            floats(saved.in.q),
                            floats(saved.in.k),
                            floats(saved.in.v),
                            floats(saved.out),
                            floats(saved.log_sum_exp),
                            floats(d_out),
                            floats(gradients.d_q),
                            floats(gradients.d_k),
                            floats(gradients.d_v)};
        for_each_key_head(shape, {offsets, offsets}, [&](Span rows, Span, int kv_head, Scratch& scratch) {
            backward_key_head(task, rows, kv_head, scratch);
        });
    }

private:
    // Calls work(queries, keys, kv_head, scratch) for every sequence and head of keys.
    template <class Work>
    void for_each_key_head(const AttentionShape& shape, const AttentionSpans& spans, Work work) const {
        const long sequences = long(spans.query_offsets.size()) - 1;
        threads_.for_each_task(sequences * shape.kv_heads, [&](long task, Scratch& scratch) {
            const auto s = std::size_t(task / shape.kv_heads);
            const Span queries{spans.query_offsets[s], spans.query_offsets[s + 1] - spans.query_offsets[s]};
            const Span keys{spans.key_offsets[s], spans.key_offsets[s + 1] - spans.key_offsets[s]};
            if (queries.count > 0) work(queries, keys, int(task % shape.kv_heads), scratch);
        });
    }

    void forward_key_head(const Forward& in, Span queries, Span keys, int kv_head, Scratch& scratch) const {
        const int d = in.shape.head_size;
        const int group = in.shape.heads / in.shape.kv_heads;
        const int stride = row_floats(keys.count);
        const std::size_t panel_floats = std::max(panels_floats(d, keys.count), panels_floats(keys.count, d));
        float* memory = scratch.floats(2 * panel_floats + std::size_t(query_block) * stride + 64);
        Panels k_transposed = panels(take(memory, panel_floats));
        Panels v = panels(take(memory, panel_floats));
        float* scores = take(memory, std::size_t(query_block) * stride);
        k_transposed.pack_transposed(head_of(in.k.slice(keys.first, keys.count), kv_head, d));
        v.pack(head_of(in.v.slice(keys.first, keys.count), kv_head, d));
        for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
            for_each_block(queries, keys, [&](const Block& block) {
                const auto q = head_of(in.q.slice(block.queries.first, block.queries.count), head, d);
                const auto out = head_of(in.out.slice(block.queries.first, block.queries.count), head, d);
                const FloatRows<float*> weights{scores, stride, q.rows, block.keys()};
                k_transposed.multiply({q.data, q.stride, false}, d, weights, false);
                float sums[query_block];
                for (int r = 0; r < q.rows; ++r)
                    sums[r] =
                        exponentiate(weights, r, block.seen(r), d, in.log_sum_exp.row(block.queries.first + r)[head]);
                v.multiply({weights.data, weights.stride, false}, block.keys(), out, false);
                for (int r = 0; r < q.rows; ++r) kernels_.rows.wide.scale(1 / sums[r], out.row(r), out.row(r), d);
            });
    }

    // Scores become e^(score - largest), and 0 where the query does not see. Returns their sum.
    float exponentiate(FloatRows<float*> weights, int r, int seen, int head_size, float& log_sum_exp) const {
        const float scale = scale_of(head_size);
        float* row = weights.row(r);
        const float largest = scale * kernels_.softmax.largest(row, seen);
        const float sum = kernels_.softmax.exponentials(scale, largest, row, row, seen);
        std::fill(row + seen, row + weights.cols, 0.0F);
        log_sum_exp = float(double(largest) + std::log(double(sum)));
        return sum;
    }

    void backward_key_head(const Backward& in, Span rows, int kv_head, Scratch& scratch) const {
        const int d = in.shape.head_size;
        const int group = in.shape.heads / in.shape.kv_heads;
        const int stride = row_floats(rows.count);
        const std::size_t key_floats = std::max(panels_floats(d, rows.count), panels_floats(rows.count, d));
        const std::size_t block_floats = panels_floats(query_block, d);
        float* memory = scratch.floats(3 * key_floats + 2 * block_floats + 2 * std::size_t(query_block) * stride + 128);
        KeyHead key{panels(take(memory, key_floats)), panels(take(memory, key_floats)),
                    panels(take(memory, key_floats)), head_of(in.d_k.slice(rows.first, rows.count), kv_head, d),
                    head_of(in.d_v.slice(rows.first, rows.count), kv_head, d)};
        QueryBlock query{panels(take(memory, block_floats)), panels(take(memory, block_floats)),
                         take(memory, std::size_t(query_block) * stride),
                         take(memory, std::size_t(query_block) * stride), stride};
        const auto k = head_of(in.k.slice(rows.first, rows.count), kv_head, d);
        key.k_transposed.pack_transposed(k);
        key.k.pack(k);
        key.v_transposed.pack_transposed(head_of(in.v.slice(rows.first, rows.count), kv_head, d));
        for (int r = 0; r < rows.count; ++r) {
            std::fill_n(key.d_k.row(r), d, 0.0F);
            std::fill_n(key.d_v.row(r), d, 0.0F);
        }
        for (int head = kv_head * group; head < (kv_head + 1) * group; ++head)
            for_each_block(rows, rows, [&](const Block& block) { backward_block(in, block, head, key, query); });
    }

    struct KeyHead {
        Panels k_transposed, k, v_transposed;
        FloatRows<float*> d_k, d_v;
    };
    struct QueryBlock {
        Panels q, d_out;
        float *probabilities, *d_scores;
        long stride;
    };

    // P = e^(scale q kᵀ - lse), dS = scale P (dO vᵀ - dO · O);  dV += Pᵀ dO, dQ = dS k, dK += dSᵀ q
    void backward_block(const Backward& in, const Block& block, int head, KeyHead& key, QueryBlock& query) const {
        const int d = in.shape.head_size;
        const int keys = block.keys();
        const float scale = scale_of(d);
        const auto rows_of = [&](auto all) {
            return head_of(all.slice(block.queries.first, block.queries.count), head, d);
        };
        const auto q = rows_of(in.q), out = rows_of(in.out), d_out = rows_of(in.d_out);
        query.q.pack(q);
        query.d_out.pack(d_out);
        const FloatRows<float*> p{query.probabilities, query.stride, q.rows, keys};
        const FloatRows<float*> d_s{query.d_scores, query.stride, q.rows, keys};
        key.k_transposed.multiply({q.data, q.stride, false}, d, p, false);
        key.v_transposed.multiply({d_out.data, d_out.stride, false}, d, d_s, false);
        for (int r = 0; r < q.rows; ++r) {
            const int seen = block.seen(r);
            const float lse = in.log_sum_exp.row(block.queries.first + r)[head];
            kernels_.softmax.exponentials(scale, lse, p.row(r), p.row(r), seen);
            const float mean = kernels_.rows.wide.dot(d_out.row(r), out.row(r), d);
            kernels_.softmax.backward(scale, mean, p.row(r), d_s.row(r), seen);
            std::fill(p.row(r) + seen, p.row(r) + keys, 0.0F);
            std::fill(d_s.row(r) + seen, d_s.row(r) + keys, 0.0F);
        }
        query.d_out.multiply({p.data, p.stride, true}, q.rows, key.d_v.slice(0, keys), true);
        query.q.multiply({d_s.data, d_s.stride, true}, q.rows, key.d_k.slice(0, keys), true);
        key.k.multiply({d_s.data, d_s.stride, false}, keys, rows_of(in.d_q), false);
    }

    static float scale_of(int head_size) { return float(1 / std::sqrt(double(head_size))); }
    [[nodiscard]] Panels panels(float* data) const { return {&kernels_.product, data, 0, 0}; }
    [[nodiscard]] std::size_t panels_floats(int depth, int columns) const {
        return Panels::floats(kernels_.product, depth, columns);
    }

    const Threads& threads_;
    const VectorKernels& kernels_;
    mutable RotaryTable table_;
};

}  // namespace

std::unique_ptr<AttentionOperations> make_cpu_attention(CpuContext context) {
    return std::make_unique<CpuAttention>(context);
}

}  // namespace expar
