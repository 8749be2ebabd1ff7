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

template <class Real>
Real sigmoid(Real x) {
    return Real(1 / (1 + std::exp(-double(x))));
}

class ReferenceRows final : public RowOperations {
public:
    void gather(Stacked in, std::span<const int> index, Rows out, Stream&) const override {
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
