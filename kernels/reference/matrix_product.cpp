#include "expar/compute/matrix_product.hpp"

#include <algorithm>
#include <vector>

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

class ReferenceWeight final : public Weight {
public:
    using Weight::Weight;
    void changed() override {}
};

class ReferenceProduct final : public MatrixProduct {
public:
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    [[nodiscard]] std::unique_ptr<Weight> weight(ConstRows values, DType dtype) const override {
        return std::make_unique<ReferenceWeight>(values, dtype);
    }

    void forward(const RowGroups& x, Rows y, Write write, Stream&) const override {
        with_real(x.rows.dtype(), [&]<class Real>(Real) {
            for_each_group(x, [&](const Weight& weight, int first, int rows) {
                forward_group<Real>(x.rows.slice(first, rows), weight.values(), y.slice(first, rows), write);
            });
        });
    }

    void input_gradient(const RowGroups& dy, Rows dx, Write write, Stream&) const override {
        with_real(dy.rows.dtype(), [&]<class Real>(Real) {
            for_each_group(dy, [&](const Weight& weight, int first, int rows) {
                input_gradient_group<Real>(dy.rows.slice(first, rows), weight.values(), dx.slice(first, rows), write);
            });
        });
    }

    void forward_activated(const RowGroups& x, Activation activation, Rows inner, Rows activated,
                           Stream& stream) const override {
        forward(x, inner, Write::assign, stream);
        activation_->forward(activation, inner, activated, stream);
    }

    void input_gradient_activated(const RowGroups& dy, Activation activation, Rows inner, Rows activated,
                                  Stream& stream) const override {
        std::vector<std::byte> memory(activated.bytes());
        const Rows d_activated(memory.data(), activated.rows(), activated.cols(), activated.dtype());
        input_gradient(dy, d_activated, Write::assign, stream);
        activation_->forward(activation, inner, activated, stream);
        activation_->backward(activation, inner, d_activated, inner, stream);
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream&) const override {
        with_real(dy.dtype(), [&]<class Real>(Real) {
            for (std::size_t g = 0; g < dw.size(); ++g) {
                for (int n = 0; write == Write::assign && n < dw[g].rows(); ++n)
                    std::ranges::fill(dw[g].row<Real>(n), Real(0));
                for (int first = offsets[g]; first < offsets[g + 1]; first += block_rows) {
                    const int rows = std::min(block_rows, offsets[g + 1] - first);
                    weight_gradient_block<Real>(dy.slice(first, rows), x.slice(first, rows), dw[g]);
                }
            }
        });
    }

private:
    template <class Work>
    static void for_each_group(const RowGroups& groups, Work work) {
        for (std::size_t g = 0; g < groups.weights.size(); ++g)
            work(*groups.weights[g], groups.offsets[g], groups.offsets[g + 1] - groups.offsets[g]);
    }

    std::unique_ptr<ActivationOperations> activation_ = make_reference_activation();
};

}  // namespace

std::unique_ptr<MatrixProduct> make_reference_product() {
    return std::make_unique<ReferenceProduct>();
}

}  // namespace expar
