#include "expar/compute/rows.hpp"

#include <algorithm>
#include <cmath>

#include "operations.hpp"

namespace expar {
namespace {

template <class Real>
std::span<const Real> row_of(const Stacked& in, int r) {
    return r < in.first.rows() ? in.first.row<Real>(r) : in.second.row<Real>(r - in.first.rows());
}

template <class Real>
Real dot_of(std::span<const Real> a, std::span<const Real> b) {
    double sum = 0;
    for (std::size_t c = 0; c < a.size(); ++c) sum += double(a[c]) * double(b[c]);
    return Real(sum);
}

template <class Real>
Real sigmoid(Real x) {
    return Real(1 / (1 + std::exp(-double(x))));
}

class ReferenceRows final : public RowOperations {
public:
    void gather(Stacked in, std::span<const int> index, Rows out, Stream&) const override {
        with_real(out.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < out.rows(); ++i) {
                if (index[i] < 0)
                    std::ranges::fill(out.row<Real>(i), Real(0));
                else
                    std::ranges::copy(row_of<Real>(in, index[i]), out.row<Real>(i).begin());
            }
        });
    }

    void scaled_gather(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        with_real(out.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < out.rows(); ++i)
                for (int c = 0; c < out.cols(); ++c)
                    out.row<Real>(i)[c] = index[i] < 0 ? 0 : weights.row<Real>(i)[0] * row_of<Real>(in, index[i])[c];
        });
    }

    void weighted_sum(Stacked in, std::span<const int> index, ConstRows weights, Rows out, Stream&) const override {
        if (out.rows() == 0) return;
        const int top_k = int(index.size()) / out.rows();
        with_real(out.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < out.rows(); ++i) {
                const auto sum = out.row<Real>(i);
                std::ranges::fill(sum, Real(0));
                for (int j = 0; j < top_k; ++j) {
                    const int source = index[i * top_k + j];
                    if (source < 0) continue;
                    const Real weight = weights.rows() ? weights.row<Real>(i)[j] : Real(1);
                    for (int c = 0; c < out.cols(); ++c) sum[c] = std::fma(weight, row_of<Real>(in, source)[c], sum[c]);
                }
            }
        });
    }

    void dot(ConstRows a, Stacked b, std::span<const int> index, Rows out, Stream&) const override {
        with_real(a.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < a.rows(); ++i)
                out.row<Real>(i)[0] = index[i] < 0 ? 0 : dot_of<Real>(a.row<Real>(i), row_of<Real>(b, index[i]));
        });
    }

    void scatter_add(ConstRows in, std::span<const int> index, Rows out, Stream&) const override {
        with_real(in.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < in.rows(); ++i)
                for (int c = 0; index[i] >= 0 && c < in.cols(); ++c) out.row<Real>(index[i])[c] += in.row<Real>(i)[c];
        });
    }

    void add(ConstRows in, Rows out, Stream&) const override {
        with_real(in.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < in.rows(); ++i)
                for (int c = 0; c < in.cols(); ++c) out.row<Real>(i)[c] += in.row<Real>(i)[c];
        });
    }

    void sigmoid_gate(ConstRows in, ConstRows logit, Rows out, Write write, Stream&) const override {
        with_real(in.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < in.rows(); ++i) {
                const Real gate = sigmoid(logit.row<Real>(i)[0]);
                for (int c = 0; c < in.cols(); ++c) {
                    const Real before = write == Write::add ? out.row<Real>(i)[c] : Real(0);
                    out.row<Real>(i)[c] = before + gate * in.row<Real>(i)[c];
                }
            }
        });
    }

    void sigmoid_gate_backward(ConstRows in, ConstRows logit, ConstRows d_out, Rows d_in, Rows d_logit,
                               Stream&) const override {
        with_real(in.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < in.rows(); ++i) {
                const Real gate = sigmoid(logit.row<Real>(i)[0]);
                d_logit.row<Real>(i)[0] = gate * (1 - gate) * dot_of<Real>(in.row<Real>(i), d_out.row<Real>(i));
                for (int c = 0; c < in.cols(); ++c) d_in.row<Real>(i)[c] = gate * d_out.row<Real>(i)[c];
            }
        });
    }
};

}  // namespace

std::unique_ptr<RowOperations> make_reference_rows() {
    return std::make_unique<ReferenceRows>();
}

}  // namespace expar
