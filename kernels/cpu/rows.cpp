#include "expar/compute/rows.hpp"

#include <cmath>
#include <cstring>
#include <type_traits>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_floats = 1 << 14;  // below this, a second thread costs more than it saves

// Two matrices read as one.
template <class Element>
struct StackedElements {
    FloatRows<const Element*> first, second;
    explicit StackedElements(const Stacked& in)
        : first(elements<Element>(in.first)), second(elements<Element>(in.second)) {}
    [[nodiscard]] const Element* row(int r) const { return r < first.rows ? first.row(r) : second.row(r - first.rows); }
};

template <class Element>
void clear(Element* row, int cols) {
    std::memset(static_cast<void*>(row), 0, std::size_t(cols) * sizeof(Element));
}

float sigmoid(float x) {
    return float(1 / (1 + std::exp(-double(x))));
}

class CpuRows final : public RowOperations {
public:
    explicit CpuRows(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.rows), conversion_(context.kernels.conversion) {}

    void gather(Stacked in, std::span<const int> index, Rows out, Stream&) const override {
        with_storage(in.first.dtype(), [&]<class From>(From) {
            with_storage(out.dtype(), [&]<class To>(To) { gather<From, To>(in, index, out); });
        });
    }

    void weighted_sum(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        if (out.rows() == 0) return;
        with_storage(out.dtype(), [&]<class Element>(Element) {
            const StackedElements<Element> from(in);
            const auto factors = floats(weights);
            const auto sums = elements<Element>(out);
            const int top_k = int(index.size()) / sums.rows;
            threads_.for_each_range(sums.rows, rows_of_grain(sums.cols * (top_k + 1)), [&](long first, long last) {
                std::vector<const Element*> terms(std::size_t(top_k), nullptr);
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
                    kernels_.of<Element>().weighted_sum(terms.data(), term_weights.data(), count, sums.row(i),
                                                        sums.cols);
                }
            });
        });
    }

    void weighted_sum_backward(Stacked d_sums, std::span<const int> index, const Terms& terms, Rows d_terms,
                               Rows d_weights, Stream&) const override {
        with_storage(d_terms.dtype(), [&]<class Element>(Element) {
            const StackedElements<Element> from(d_sums);
            const auto rows = elements<Element>(terms.rows);
            const auto factors = floats(terms.weights);
            const auto dots = floats(d_weights);
            for_each_row(elements<Element>(d_terms), [&](int i, Element* row, int cols) {
                if (index[i] < 0) clear(row, cols);
                *dots.row(i) = index[i] < 0 ? 0
                                            : kernels_.of<Element>().scale_and_dot(*factors.row(i), from.row(index[i]),
                                                                                   rows.row(i), row, cols);
            });
        });
    }

    // Rows of `out` may be named twice: every thread adds all rows, to columns of its own.
    void scatter_add(ConstRows in, std::span<const int> index, Rows out, Stream&) const override {
        with_storage(in.dtype(), [&]<class From>(From) {
            const auto from = elements<From>(in);
            const auto add_all = [&](auto to, auto add) {
                const long columns_of_grain = std::max(64L, grain_floats / std::max(1, from.rows));
                threads_.for_each_range(from.cols, columns_of_grain, [&](long first, long last) {
                    for (int i = 0; i < from.rows; ++i)
                        if (index[i] >= 0) add(from.row(i) + first, to.row(index[i]) + first, last - first);
                });
            };
            if (out.dtype() == DType::float32)
                add_all(floats(out), kernels_.of<From>().add_to_floats);
            else
                add_all(elements<From>(out), kernels_.of<From>().add);
        });
    }

    void add(ConstRows in, Rows out, Stream&) const override {
        with_storage(in.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(in);
            for_each_row(elements<Element>(out),
                         [&](int i, Element* row, int cols) { kernels_.of<Element>().add(from.row(i), row, cols); });
        });
    }

    void sigmoid_gate(ConstRows in, ConstRows logit, Rows out, Write write, Stream&) const override {
        with_storage(in.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(in);
            const auto logits = floats(logit);
            const auto& kernels = kernels_.of<Element>();
            const auto apply = write == Write::add ? kernels.add_scaled : kernels.scale;
            for_each_row(elements<Element>(out), [&](int i, Element* row, int cols) {
                apply(sigmoid(*logits.row(i)), from.row(i), row, cols);
            });
        });
    }

    void sigmoid_gate_backward(ConstRows in, ConstRows logit, ConstRows d_out, Rows d_in, Rows d_logit,
                               Stream&) const override {
        with_storage(in.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(in);
            const auto logits = floats(logit);
            const auto gradient = elements<Element>(d_out);
            const auto d_logits = floats(d_logit);
            for_each_row(elements<Element>(d_in), [&](int i, Element* row, int cols) {
                const float g = sigmoid(*logits.row(i));
                *d_logits.row(i) =
                    g * (1 - g) * kernels_.of<Element>().scale_and_dot(g, gradient.row(i), from.row(i), row, cols);
            });
        });
    }

private:
    static long rows_of_grain(int cols) { return std::max(1L, grain_floats / std::max(1, cols)); }

    template <class From, class To>
    void gather(const Stacked& in, std::span<const int> index, Rows out) const {
        const StackedElements<From> from(in);
        for_each_row(elements<To>(out), [&](int i, To* row, int cols) {
            if (index[i] < 0)
                clear(row, cols);
            else if constexpr (std::is_same_v<From, To>)
                std::memcpy(row, from.row(index[i]), std::size_t(cols) * sizeof(To));
            else if constexpr (std::is_same_v<From, float>)
                conversion_.round(from.row(index[i]), row, cols);
            else
                std::transform(from.row(index[i]), from.row(index[i]) + cols, row, to_float);
        });
    }

    // Calls work(i, row, cols) for every row.
    template <class Element, class Work>
    void for_each_row(FloatRows<Element*> rows, Work work) const {
        threads_.for_each_range(rows.rows, rows_of_grain(rows.cols), [&](long first, long last) {
            for (long i = first; i < last; ++i) work(int(i), rows.row(i), rows.cols);
        });
    }

    const Threads& threads_;
    const ByElement<RowKernels>& kernels_;
    const ConversionKernels& conversion_;
};

}  // namespace

std::unique_ptr<RowOperations> make_cpu_rows(CpuContext context) {
    return std::make_unique<CpuRows>(context);
}

}  // namespace expar
