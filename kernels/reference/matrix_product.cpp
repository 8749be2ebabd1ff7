#include "expar/compute/matrix_product.hpp"

#include <algorithm>

#include "operations.hpp"

namespace expar {
namespace {

template <class Real>
void write_to(Real& out, double value, Write write) {
    out = write == Write::assign ? Real(value) : out + Real(value);
}

template <class Real>
void forward_group(ConstRows x, ConstRows w, Rows y, Write write) {
    for (int t = 0; t < x.rows(); ++t)
        for (int n = 0; n < w.rows(); ++n) {
            const auto x_row = x.row<Real>(t);
            const auto w_row = w.row<Real>(n);
            double sum = 0;
            for (int k = 0; k < x.cols(); ++k) sum += double(x_row[k]) * double(w_row[k]);
            write_to(y.row<Real>(t)[n], sum, write);
        }
}

template <class Real>
void input_gradient_group(ConstRows dy, ConstRows w, Rows dx, Write write) {
    for (int t = 0; t < dy.rows(); ++t)
        for (int k = 0; k < w.cols(); ++k) {
            const auto dy_row = dy.row<Real>(t);
            double sum = 0;
            for (int n = 0; n < w.rows(); ++n) sum += double(dy_row[n]) * double(w.row<Real>(n)[k]);
            write_to(dx.row<Real>(t)[k], sum, write);
        }
}

template <class Real>
void weight_gradient_block(ConstRows dy, ConstRows x, Rows dw) {
    for (int n = 0; n < dw.rows(); ++n)
        for (int k = 0; k < dw.cols(); ++k) {
            double sum = 0;
            for (int t = 0; t < x.rows(); ++t) sum += double(dy.row<Real>(t)[n]) * double(x.row<Real>(t)[k]);
            dw.row<Real>(n)[k] += Real(sum);
        }
}

class ReferenceProduct final : public MatrixProduct {
public:
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    void forward(ConstRows x, std::span<const int> offsets, std::span<const ConstRows> w, Rows y, Write write,
                 Stream&) const override {
        with_real(x.dtype(), [&]<class Real>(Real) {
            for (std::size_t g = 0; g < w.size(); ++g) {
                const int rows = offsets[g + 1] - offsets[g];
                forward_group<Real>(x.slice(offsets[g], rows), w[g], y.slice(offsets[g], rows), write);
            }
        });
    }

    void input_gradient(ConstRows dy, std::span<const int> offsets, std::span<const ConstRows> w, Rows dx, Write write,
                        Stream&) const override {
        with_real(dy.dtype(), [&]<class Real>(Real) {
            for (std::size_t g = 0; g < w.size(); ++g) {
                const int rows = offsets[g + 1] - offsets[g];
                input_gradient_group<Real>(dy.slice(offsets[g], rows), w[g], dx.slice(offsets[g], rows), write);
            }
        });
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw,
                         Stream&) const override {
        with_real(dy.dtype(), [&]<class Real>(Real) {
            for (std::size_t g = 0; g < dw.size(); ++g)
                for (int first = offsets[g]; first < offsets[g + 1]; first += block_rows) {
                    const int rows = std::min(block_rows, offsets[g + 1] - first);
                    weight_gradient_block<Real>(dy.slice(first, rows), x.slice(first, rows), dw[g]);
                }
        });
    }
};

}  // namespace

std::unique_ptr<MatrixProduct> make_reference_product() {
    return std::make_unique<ReferenceProduct>();
}

}  // namespace expar
