#include "expar/compute/attention.hpp"

#include <algorithm>
#include <limits>

#include "attention_backward.hpp"
#include "attention_forward.hpp"
#include "attention_pairs.hpp"
#include "operations.hpp"
#include "rotary_table.hpp"

namespace expar {
namespace {

class CpuAttention final : public AttentionOperations {
public:
    explicit CpuAttention(CpuContext context)
        : threads_(context.threads),
          kernels_(context.kernels),
          tiles_(context.pairs == &amx_pair_kernels ? context.pairs : nullptr) {}

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
        const int blocks = std::max(1, attention_blocks_at_once / (shape.heads / shape.kv_heads));
        list_tasks(shape, spans, blocks * kernels_.attention.lanes);
        with_storage(in.q.dtype(), [&]<class Element>(Element) {
            const typename AttentionForward<Element>::Rows rows{elements<Element>(in.q), elements<Element>(in.k),
                                                                elements<Element>(in.v), elements<Element>(out),
                                                                floats(log_sum_exp)};
            if constexpr (sizeof(Element) == sizeof(bfloat16))
                if (tiles_) return run_tasks(PairAttentionForward(kernels_.attention, *tiles_, shape, rows));
            run_tasks(AttentionForward<Element>(kernels_.attention, shape, rows));
        });
    }

    void backward(const AttentionShape& shape, std::span<const int> offsets, const Saved& saved, ConstRows d_out,
                  const Gradients& gradients, Stream&) const override {
        list_tasks(shape, {offsets, offsets}, std::numeric_limits<int>::max());
        with_storage(saved.in.q.dtype(), [&]<class Element>(Element) {
            const typename AttentionBackward<Element>::Rows rows{
                elements<Element>(saved.in.q),    elements<Element>(saved.in.k),    elements<Element>(saved.in.v),
                elements<Element>(saved.out),     floats(saved.log_sum_exp),        elements<Element>(d_out),
                elements<Element>(gradients.d_q), elements<Element>(gradients.d_k), elements<Element>(gradients.d_v)};
            if constexpr (sizeof(Element) == sizeof(bfloat16))
                if (tiles_) return run_tasks(PairAttentionBackward(kernels_.attention, *tiles_, shape, rows));
            run_tasks(AttentionBackward<Element>(kernels_.attention, shape, rows));
        });
    }

private:
    // Tasks of at most so many queries; of a sequence the last first, which read the most keys.
    void list_tasks(const AttentionShape& shape, const AttentionSpans& spans, int most_queries) const {
        tasks_.clear();
        for (std::size_t s = 0; s + 1 < spans.query_offsets.size(); ++s) {
            const AttentionRange queries{spans.query_offsets[s], spans.query_offsets[s + 1] - spans.query_offsets[s]};
            const AttentionRange keys{spans.key_offsets[s], spans.key_offsets[s + 1] - spans.key_offsets[s]};
            if (queries.count == 0) continue;
            for (int first = (queries.count - 1) / most_queries * most_queries; first >= 0; first -= most_queries)
                for (int kv_head = 0; kv_head < shape.kv_heads; ++kv_head)
                    tasks_.push_back(AttentionTask{queries, keys, keys.count - queries.count, kv_head}.part(
                        first, std::min(most_queries, queries.count - first)));
        }
    }

    template <class Pass>
    void run_tasks(const Pass& pass) const {
        threads_.for_each_task(long(tasks_.size()),
                               [&](long task, Scratch& scratch) { pass.run(tasks_[std::size_t(task)], scratch); });
    }

    const Threads& threads_;
    const VectorKernels& kernels_;
    // Pairs in vectors take twice the time of float32 at the depth of a head: seen 55 and 36 us for 256 queries of 32.
    const PairKernels* tiles_;
    mutable RotaryTable table_;
    mutable std::vector<AttentionTask> tasks_;  // kept, so that no call allocates
};

}  // namespace

std::unique_ptr<AttentionOperations> make_cpu_attention(CpuContext context) {
    return std::make_unique<CpuAttention>(context);
}

}  // namespace expar
