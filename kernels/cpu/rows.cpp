#include "expar/compute/rows.hpp"

#include <xmmintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

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

// Rows that lie apart.
template <class Element>
struct PlacedElements {
    std::span<const int> base_of, row_of;
    long cols;
    explicit PlacedElements(const Places& places) : base_of(places.base_of), row_of(places.row_of), cols(places.cols) {
        check_elements<std::remove_const_t<Element>>(places.dtype);
    }
    [[nodiscard]] Element* row(std::span<void* const> bases, std::size_t i) const {
        return static_cast<Element*>(bases[std::size_t(base_of[i])]) + row_of[i] * cols;
    }
};

// What is stored past the caches is stored by whole lines.
bool begins_line(const void* row) {
    return reinterpret_cast<std::uintptr_t>(row) % 64 == 0;
}
template <class Kernel>
Kernel kernel(const ByStores<Kernel>& kernels, Stores stores, const void* row) {
    return stores == Stores::past_caches && begins_line(row) ? kernels.past_caches : kernels.ordinary;
}

float sigmoid(float x) {
    return float(1 / (1 + std::exp(-double(x))));
}

class CpuRows final : public RowOperations {
public:
    explicit CpuRows(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.rows), conversion_(context.kernels.conversion) {}

    void gather(Stacked in, std::span<const int> index, Rows out, Stores stores, Stream&) const override {
        with_storage(in.first.dtype(), [&]<class From>(From) {
            with_storage(out.dtype(), [&]<class To>(To) {
                const StackedElements<From> from(in);
                const CopyRow<From, To> copy{kernels_.of<To>(), conversion_, stores};
                for_each_row(elements<To>(out), [&](int i, To* row, int cols) {
                    if (index[i] < 0)
                        clear(row, cols);
                    else
                        copy(from.row(index[i]), row, cols);
                });
            });
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
                RowSum<Element> terms(top_k), next(top_k);
                const auto list = [&](RowSum<Element>& sum, long i) {
                    sum.count = 0;
                    for (int j = 0; i < last && j < top_k; ++j) {
                        const int source = index[std::size_t(i * top_k + j)];
                        if (source >= 0) sum.add(from.row(source), factors.rows ? factors.row(i)[j] : 1);
                    }
                };
                list(terms, first);
                for (long i = first; i < last; ++i, std::swap(terms, next)) {
                    list(next, i + 1);
                    kernels_.of<Element>().weighted_sum.ordinary(terms.with(next), sums.row(i), sums.cols);
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
            const auto next = [&](int i) {
                return std::size_t(i) + 1 < index.size() && index[i + 1] >= 0 ? from.row(index[i + 1]) : nullptr;
            };
            for_each_row(elements<Element>(d_terms), [&](int i, Element* row, int cols) {
                *dots.row(i) = 0;
                if (index[i] < 0) return clear(row, cols);
                const RowProduct<Element> product{*factors.row(i), from.row(index[i]), rows.row(i), next(i)};
                *dots.row(i) = kernels_.of<Element>().scale_and_dot.ordinary(product, row, cols);
            });
        });
    }

    void store(ConstRows in, const Places& out, Stores stores, Stream&) const override {
        if (in.rows() == 0) return;
        with_storage(out.dtype, [&]<class Element>(Element) {
            const auto from = elements<Element>(in);
            const PlacedElements<Element> to(out);
            const int top_k = int(out.base_of.size()) / from.rows;
            const auto copy = kernels_.of<Element>().copy_past_caches;
            for_each_token(from.rows, from.cols * (top_k + 1), [&](long t) {
                for (int j = 0; j < top_k; ++j) {
                    const auto i = std::size_t(t * top_k + j);
                    if (to.base_of[i] < 0) continue;
                    Element* row = to.row(out.bases, i);
                    if (stores == Stores::past_caches && begins_line(row))
                        copy(from.row(t), row, from.cols);
                    else
                        std::memcpy(row, from.row(t), std::size_t(from.cols) * sizeof(Element));
                }
            });
        });
    }

    void weighted_sum(const Places& in, ConstRows weights, Summing summing, Rows out, Stream&) const override {
        if (out.rows() == 0) return;
        with_storage(out.dtype(), [&]<class Element>(Element) {
            const PlacedElements<const Element> from(in);
            const auto factors = floats(weights);
            const auto sums = elements<Element>(out);
            const int top_k = int(in.base_of.size()) / sums.rows;
            const auto& kernels = kernels_.of<Element>();
            threads_.for_each_range(sums.rows, rows_of_grain(sums.cols * (top_k + 1)), [&](long first, long last) {
                PlacedSum<Element> terms(top_k), next(top_k);
                const auto list = [&](PlacedSum<Element>& sum, long t) {
                    if (t < last)
                        sum.list(from, in.bases, factors.rows ? factors.row(t) : nullptr, t);
                    else
                        sum.count = 0;
                };
                list(terms, first);
                for (long t = first; t < last; ++t, std::swap(terms, next)) {
                    list(next, t + 1);
                    const RowTerms<Element> added = terms.with(next);
                    Element* sum = sums.row(t);
                    if (summing.order == Order::by_choice)
                        kernel(kernels.weighted_sum, summing.stores, sum)(added, sum, sums.cols);
                    else
                        kernel(kernels.sum_of_sums, summing.stores, sum)(added, terms.group(), sum, sums.cols);
                }
                _mm_sfence();
            });
        });
    }

    void weighted_sum_backward(ConstRows d_sums, const PlacedTerms& terms, Stores stores, Rows d_weights,
                               Stream&) const override {
        if (d_sums.rows() == 0) return;
        with_storage(d_sums.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(d_sums);
            const PlacedElements<Element> places(terms.terms);
            const auto factors = floats(terms.weights);
            const auto dots = floats(d_weights);
            const auto& kernels = kernels_.of<Element>();
            // Of the term behind term i, whose row is there or not.
            const auto next = [&](std::size_t i) {
                return i + 1 < places.base_of.size() && places.base_of[i + 1] >= 0
                           ? places.row(terms.terms.bases, i + 1)
                           : nullptr;
            };
            for_each_token(from.rows, 2 * from.cols * dots.cols, [&](long t) {
                for (int j = 0; j < dots.cols; ++j) {
                    const auto i = std::size_t(t * dots.cols + j);
                    dots.row(t)[j] = 0;
                    if (places.base_of[i] < 0) continue;
                    Element* d_term = places.row(terms.d_bases, i);
                    const RowProduct<Element> product{factors.row(t)[j], from.row(t), places.row(terms.terms.bases, i),
                                                      next(i)};
                    dots.row(t)[j] = kernel(kernels.scale_and_dot, stores, d_term)(product, d_term, from.cols);
                }
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
                    g * (1 - g) *
                    kernels_.of<Element>().scale_and_dot.ordinary({g, gradient.row(i), from.row(i)}, row, cols);
            });
        });
    }

private:
    // To a row of its own or of another type.
    template <class From, class To>
    struct CopyRow {
        const RowKernels<To>& kernels;
        const ConversionKernels& conversion;
        Stores stores;

        void operator()(const From* in, To* out, int cols) const {
            if constexpr (!std::is_same_v<From, To> && std::is_same_v<From, float>)
                conversion.round(in, out, cols);
            else if constexpr (!std::is_same_v<From, To>)
                std::transform(in, in + cols, out, to_float);
            else if (stores == Stores::past_caches && begins_line(out))
                kernels.copy_past_caches(in, out, cols);
            else
                std::memcpy(out, in, std::size_t(cols) * sizeof(To));
        }
    };

    // The rows that one sum adds up.
    template <class Element>
    struct RowSum {
        std::vector<const Element*> rows;
        std::vector<float> weights;
        int count = 0;

        explicit RowSum(int top_k) : rows(std::size_t(top_k)), weights(std::size_t(top_k)) {}
        void add(const Element* row, float weight) {
            rows[std::size_t(count)] = row;
            weights[std::size_t(count++)] = weight;
        }
        [[nodiscard]] RowTerms<Element> with(const RowSum& next) const {
            return {rows.data(), weights.data(), count, next.rows.data(), next.count};
        }
    };

    // Those that lie at places.
    template <class Element>
    struct PlacedSum : RowSum<Element> {
        using RowSum<Element>::rows, RowSum<Element>::weights, RowSum<Element>::count;
        std::vector<int> bases, ends;
        int groups = 0;

        explicit PlacedSum(int top_k) : RowSum<Element>(top_k), bases(std::size_t(top_k)), ends(std::size_t(top_k)) {}
        void list(const PlacedElements<const Element>& from, std::span<void* const> at, const float* factors,
                  long row) {
            count = 0;
            for (std::size_t j = 0; j < rows.size(); ++j) {
                const std::size_t i = std::size_t(row) * rows.size() + j;
                if (from.base_of[i] < 0) continue;
                bases[std::size_t(count)] = from.base_of[i];
                this->add(from.row(at, i), factors ? factors[j] : 1);
            }
        }
        // By ascending base, in each one by choice.
        RowRuns group() {
            for (std::size_t i = 1; i < std::size_t(count); ++i)
                for (std::size_t j = i; j > 0 && bases[j] < bases[j - 1]; --j) {
                    std::swap(bases[j], bases[j - 1]);
                    std::swap(rows[j], rows[j - 1]);
                    std::swap(weights[j], weights[j - 1]);
                }
            groups = 0;
            for (int i = 0; i < count; ++i)
                if (i + 1 == count || bases[std::size_t(i)] != bases[std::size_t(i + 1)])
                    ends[std::size_t(groups++)] = i + 1;
            return {ends.data(), groups};
        }
    };

    // Calls work(t) for every token; what it stored past the caches is seen before what is stored next.
    template <class Work>
    void for_each_token(long tokens, int cols, Work work) const {
        threads_.for_each_range(tokens, rows_of_grain(cols), [&](long first, long last) {
            for (long t = first; t < last; ++t) work(t);
            _mm_sfence();
        });
    }

    static long rows_of_grain(int cols) { return std::max(1L, grain_floats / std::max(1, cols)); }

    // Calls work(i, row, cols) for every row.
    template <class Element, class Work>
    void for_each_row(FloatRows<Element*> rows, Work work) const {
        threads_.for_each_range(rows.rows, rows_of_grain(rows.cols), [&](long first, long last) {
            for (long i = first; i < last; ++i) work(int(i), rows.row(i), rows.cols);
            _mm_sfence();
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
