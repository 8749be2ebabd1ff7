#include "expar/compute/rows.hpp"

#include <algorithm>
#include <cmath>

#include "operations.hpp"

namespace expar {
namespace {

template <class Element>
std::span<const Element> row_of(const Stacked& in, int r) {
    return r < in.first.rows() ? in.first.row<Element>(r) : in.second.row<Element>(r - in.first.rows());
}

template <class Element>
double dot_of(std::span<const Element> a, std::span<const Element> b) {
    double sum = 0;
    for (std::size_t c = 0; c < a.size(); ++c) sum += double(a[c]) * double(b[c]);
    return sum;
}

// The row at choice i; nothing where there is none.
template <class Element>
std::span<Element> row_at(const Places& places, std::span<void* const> bases, std::size_t i) {
    if (places.base_of[i] < 0) return {};
    auto* first = static_cast<Element*>(bases[places.base_of[i]]);
    return {first + std::ptrdiff_t(places.row_of[i]) * places.cols, std::size_t(places.cols)};
}

template <class Real>
Real sigmoid(Real x) {
    return Real(1 / (1 + std::exp(-double(x))));
}

class ReferenceRows final : public RowOperations {
public:
    void gather(Stacked in, std::span<const int> index, Rows out, Stores, Stream&) const override {
        with_elements(in.first.dtype(), out.dtype(), [&]<class From, class To>(From, To) {
            for (int i = 0; i < out.rows(); ++i)
                for (int c = 0; c < out.cols(); ++c)
                    out.row<To>(i)[c] = rounded<To>(index[i] < 0 ? 0 : double(row_of<From>(in, index[i])[c]));
        });
    }

    void weighted_sum(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        if (out.rows() == 0) return;
        const int top_k = int(index.size()) / out.rows();
        with_element(out.dtype(), [&]<class Element>(Element) {
            using Real = Wide<Element>;
            for (int i = 0; i < out.rows(); ++i)
                for (int c = 0; c < out.cols(); ++c) {
                    Real sum = 0;
                    for (int j = 0; j < top_k; ++j) {
                        const int source = index[i * top_k + j];
                        if (source < 0) continue;
                        const Real weight = weights.rows() ? weights.row<Real>(i)[j] : Real(1);
                        sum = std::fma(weight, Real(row_of<Element>(in, source)[c]), sum);
                    }
                    out.row<Element>(i)[c] = rounded<Element>(sum);
                }
        });
    }

    void weighted_sum_backward(Stacked d_sums, std::span<const int> index, const Terms& terms, Rows d_terms,
                               Rows d_weights, Stream&) const override {
        with_element(d_terms.dtype(), [&]<class Element>(Element) {
            using Real = Wide<Element>;
            for (int i = 0; i < d_terms.rows(); ++i) {
                for (int c = 0; c < d_terms.cols(); ++c)
                    d_terms.row<Element>(i)[c] = rounded<Element>(
                        index[i] < 0 ? 0 : terms.weights.row<Real>(i)[0] * Real(row_of<Element>(d_sums, index[i])[c]));
                d_weights.row<Real>(i)[0] =
                    index[i] < 0 ? 0
                                 : Real(dot_of<Element>(terms.rows.row<Element>(i), row_of<Element>(d_sums, index[i])));
            }
        });
    }

    void store(ConstRows in, const Places& out, Stores, Stream&) const override {
        with_element(out.dtype, [&]<class Element>(Element) {
            for (std::size_t i = 0; i < out.base_of.size(); ++i) {
                const auto place = row_at<Element>(out, out.bases, i);
                const int top_k = int(out.base_of.size()) / in.rows();
                if (!place.empty()) std::ranges::copy(in.row<Element>(int(i) / top_k), place.begin());
            }
        });
    }

    void weighted_sum(const Places& in, ConstRows weights, Summing summing, Rows out, Stream&) const override {
        const int top_k = out.rows() ? int(in.base_of.size()) / out.rows() : 0;
        with_element(out.dtype(), [&]<class Element>(Element) {
            for (int r = 0; r < out.rows(); ++r)
                for (int c = 0; c < out.cols(); ++c)
                    out.row<Element>(r)[c] = summing.order == Order::by_choice
                                                 ? rounded<Element>(sum_at<Element>(in, weights, {r, c, top_k}, -1))
                                                 : rounded<Element>(sum_of_bases<Element>(in, weights, {r, c, top_k}));
        });
    }

    void weighted_sum_backward(ConstRows d_sums, const PlacedTerms& terms, Stores, Rows d_weights,
                               Stream&) const override {
        with_element(d_sums.dtype(), [&]<class Element>(Element) {
            using Real = Wide<Element>;
            for (int r = 0; r < d_weights.rows(); ++r)
                for (int j = 0; j < d_weights.cols(); ++j) {
                    const std::size_t i = std::size_t(r) * d_weights.cols() + j;
                    const auto term = row_at<const Element>(terms.terms, terms.terms.bases, i);
                    const auto d_term = row_at<Element>(terms.terms, terms.d_bases, i);
                    const auto d_sum = d_sums.row<Element>(r);
                    for (std::size_t c = 0; c < d_term.size(); ++c)
                        d_term[c] = rounded<Element>(terms.weights.row<Real>(r)[j] * Real(d_sum[c]));
                    d_weights.row<Real>(r)[j] = term.empty() ? 0 : Real(dot_of<Element>(term, d_sum));
                }
        });
    }

    void scatter_add(ConstRows in, std::span<const int> index, Rows out, Stream&) const override {
        with_elements(in.dtype(), out.dtype(), [&]<class From, class To>(From, To) {
            for (int i = 0; i < in.rows(); ++i)
                if (index[i] >= 0) add_row<From, To>(in.row<From>(i), out.row<To>(index[i]));
        });
    }

    void add(ConstRows in, Rows out, Stream&) const override {
        with_element(in.dtype(), [&]<class Element>(Element) {
            for (int i = 0; i < in.rows(); ++i) add_row<Element, Element>(in.row<Element>(i), out.row<Element>(i));
        });
    }

    void sigmoid_gate(ConstRows in, ConstRows logit, Rows out, Write write, Stream&) const override {
        with_element(in.dtype(), [&]<class Element>(Element) {
            using Real = Wide<Element>;
            for (int i = 0; i < in.rows(); ++i) {
                const Real gate = sigmoid(logit.row<Real>(i)[0]);
                for (int c = 0; c < in.cols(); ++c) {
                    const Real before = write == Write::add ? Real(out.row<Element>(i)[c]) : Real(0);
                    out.row<Element>(i)[c] = rounded<Element>(before + gate * Real(in.row<Element>(i)[c]));
                }
            }
        });
    }

    void sigmoid_gate_backward(ConstRows in, ConstRows logit, ConstRows d_out, Rows d_in, Rows d_logit,
                               Stream&) const override {
        with_element(in.dtype(), [&]<class Element>(Element) {
            using Real = Wide<Element>;
            for (int i = 0; i < in.rows(); ++i) {
                const Real gate = sigmoid(logit.row<Real>(i)[0]);
                d_logit.row<Real>(i)[0] =
                    gate * (1 - gate) * Real(dot_of<Element>(in.row<Element>(i), d_out.row<Element>(i)));
                for (int c = 0; c < in.cols(); ++c)
                    d_in.row<Element>(i)[c] = rounded<Element>(gate * Real(d_out.row<Element>(i)[c]));
            }
        });
    }

private:
    struct Position {
        int row, col, top_k;
    };

    // Of the choices of one base alone, or of all of them: -1.
    template <class Element>
    static Wide<Element> sum_at(const Places& in, ConstRows weights, Position at, int base) {
        using Real = Wide<Element>;
        Real sum = 0;
        for (int j = 0; j < at.top_k; ++j) {
            const std::size_t i = std::size_t(at.row) * at.top_k + j;
            const auto term = row_at<const Element>(in, in.bases, i);
            if (term.empty() || (base >= 0 && in.base_of[i] != base)) continue;
            sum = std::fma(weights.rows() ? weights.row<Real>(at.row)[j] : Real(1), Real(term[at.col]), sum);
        }
        return sum;
    }

    template <class Element>
    static Wide<Element> sum_of_bases(const Places& in, ConstRows weights, Position at) {
        using Real = Wide<Element>;
        Real sum = 0;
        const auto bases = in.base_of.subspan(std::size_t(at.row) * at.top_k, at.top_k);
        for (int base = 0; base < int(in.bases.size()); ++base)
            if (std::ranges::count(bases, base) > 0)
                sum = std::fma(Real(1), Real(rounded<Element>(sum_at<Element>(in, weights, at, base))), sum);
        return sum;
    }

    template <class From, class To>
    static void add_row(std::span<const From> in, std::span<To> out) {
        for (std::size_t c = 0; c < in.size(); ++c) out[c] = rounded<To>(double(out[c]) + double(in[c]));
    }
};

}  // namespace

std::unique_ptr<RowOperations> make_reference_rows() {
    return std::make_unique<ReferenceRows>();
}

}  // namespace expar
