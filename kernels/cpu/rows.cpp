#include "expar/compute/rows.hpp"

#include <cstring>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_floats = 1 << 14;  // below this, a second thread costs more than it saves

// Two matrices read as one.
struct StackedFloats {
    FloatRows<const float*> first, second;
    explicit StackedFloats(const Stacked& in) : first(floats(in.first)), second(floats(in.second)) {}
    [[nodiscard]] const float* row(int r) const { return r < first.rows ? first.row(r) : second.row(r - first.rows); }
};

class CpuRows final : public RowOperations {
public:
    explicit CpuRows(CpuContext context) : threads_(context.threads), kernels_(context.kernels.rows) {}

    void gather(Stacked in, std::span<const int> index, Rows out, Stream&) const override {
        const StackedFloats from(in);
        for_each_row(floats(out), [&](int i, float* row, int cols) {
            if (index[i] < 0)
                std::memset(row, 0, std::size_t(cols) * sizeof(float));
            else
                std::memcpy(row, from.row(index[i]), std::size_t(cols) * sizeof(float));
        });
    }

    void scaled_gather(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        const StackedFloats from(in);
        const auto factors = floats(weights);
        for_each_row(floats(out), [&](int i, float* row, int cols) {
            if (index[i] < 0)
                std::memset(row, 0, std::size_t(cols) * sizeof(float));
            else
                kernels_.scale(*factors.row(i), from.row(index[i]), row, cols);
        });
    }

    void weighted_sum(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        if (out.rows() == 0) return;
        const StackedFloats from(in);
        const auto factors = floats(weights);
        const auto sums = floats(out);
        const int top_k = int(index.size()) / sums.rows;
        threads_.for_each_range(sums.rows, rows_of_grain(sums.cols * (top_k + 1)), [&](long first, long last) {
            std::vector<const float*> terms(std::size_t(top_k), nullptr);
            std::vector<float> term_weights(std::size_t(top_k), 1.0F);
            for (long i = first; i < last; ++i) {
                int count = 0;
                for (int j = 0; j < top_k; ++j) {
                    const int source = index[std::size_t(i * top_k + j)];
                    if (source < 0) continue;
                    terms[std::size_t(count)] = from.row(source);
                    if (factors.rows) term_weights[std::size_t(count)] = factors.row(i)[j];
                    ++count;
                }
                kernels_.weighted_sum(terms.data(), term_weights.data(), count, sums.row(i), sums.cols);
            }
        });
    }

    void dot(ConstRows a, Stacked b, std::span<const int> index, Rows out, Stream&) const override {
        const StackedFloats right(b);
        const auto left = floats(a);
        const auto dots = floats(out);
        threads_.for_each_range(left.rows, rows_of_grain(left.cols), [&](long first, long last) {
            for (long i = first; i < last; ++i) {
                const int source = index[std::size_t(i)];
                *dots.row(i) = source < 0 ? 0 : kernels_.dot(left.row(i), right.row(source), left.cols);
            }
        });
    }

    // Rows of `out` may be named twice: every thread adds all rows, to columns of its own.
    void scatter_add(ConstRows in, std::span<const int> index, Rows out, Stream&) const override {
        const auto from = floats(in);
        const auto to = floats(out);
        const long columns_of_grain = std::max(64L, grain_floats / std::max(1, from.rows));
        threads_.for_each_range(from.cols, columns_of_grain, [&](long first, long last) {
            for (int i = 0; i < from.rows; ++i)
                if (index[i] >= 0) kernels_.add(from.row(i) + first, to.row(index[i]) + first, last - first);
        });
    }

    void add(ConstRows in, Rows out, Stream&) const override {
        const auto from = floats(in);
        for_each_row(floats(out), [&](int i, float* row, int cols) { kernels_.add(from.row(i), row, cols); });
    }

    void sigmoid_gate(ConstRows in, ConstRows logit, Rows out, Write write, Stream&) const override {
        const auto from = floats(in);
        const auto logits = floats(logit);
        const auto apply = write == Write::add ? kernels_.add_scaled : kernels_.scale;
        for_each_row(floats(out),
                     [&](int i, float* row, int cols) { apply(gate(*logits.row(i)), from.row(i), row, cols); });
    }

    void sigmoid_gate_backward(ConstRows in, ConstRows logit, ConstRows d_out, Rows d_in, Rows d_logit,
                               Stream&) const override {
        const auto from = floats(in);
        const auto logits = floats(logit);
        const auto gradient = floats(d_out);
        const auto d_logits = floats(d_logit);
        for_each_row(floats(d_in), [&](int i, float* row, int cols) {
            const float g = gate(*logits.row(i));
            *d_logits.row(i) = g * (1 - g) * kernels_.dot(from.row(i), gradient.row(i), cols);
            kernels_.scale(g, gradient.row(i), row, cols);
        });
    }

private:
    [[nodiscard]] float gate(float logit) const {
        float result = 0;
        kernels_.sigmoid(&logit, &result, 1);
        return result;
    }

    static long rows_of_grain(int cols) { return std::max(1L, grain_floats / std::max(1, cols)); }

    // Calls work(i, row, cols) for every row.
    template <class Work>
    void for_each_row(FloatRows<float*> rows, Work work) const {
        threads_.for_each_range(rows.rows, rows_of_grain(rows.cols), [&](long first, long last) {
            for (long i = first; i < last; ++i) work(int(i), rows.row(i), rows.cols);
        });
    }

    const Threads& threads_;
    const RowKernels& kernels_;
};

}  // namespace

std::unique_ptr<RowOperations> make_cpu_rows(CpuContext context) {
    return std::make_unique<CpuRows>(context);
}

}  // namespace expar
