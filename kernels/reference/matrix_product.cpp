#include "expar/compute/matrix_product.hpp"

#include <algorithm>
#include <vector>

#include "operations.hpp"

namespace expar {
namespace {

// A matrix of any type in float64; `values_of` a weight are those that products on its dtype multiply by.
struct Values {
    int rows, cols;
    std::vector<double> values;

    [[nodiscard]] double at(int r, int c) const { return values[std::size_t(r) * cols + c]; }
};

Values values_of(ConstRows rows) {
    Values result{rows.rows(), rows.cols(), {}};
    with_element(rows.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < rows.rows(); ++r)
            for (const Element value : rows.row<Element>(r)) result.values.push_back(double(value));
    });
    return result;
}

Values values_of(const Weight& weight) {
    Values result = values_of(weight.values());
    with_element(weight.dtype(), [&]<class Element>(Element) {
        for (double& value : result.values) value = double(rounded<Element>(value));
    });
    return result;
}

// Assigns or adds sum(r, c) to every element.
template <class Sum>
void write_to(Rows out, Write write, Sum sum) {
    with_element(out.dtype(), [&]<class Element>(Element) {
        for (int r = 0; r < out.rows(); ++r)
            for (int c = 0; c < out.cols(); ++c) {
                Element& element = out.row<Element>(r)[c];
                element = rounded<Element>(write == Write::assign ? sum(r, c) : double(element) + sum(r, c));
            }
    });
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

    void forward(const RowGroups& groups, Rows y, Write write, Stream&) const override {
        for_each_group(groups, y, [&](const Values& x, const Values& w, Rows out) {
            write_to(out, write, [&](int t, int n) {
                double sum = 0;
                for (int k = 0; k < x.cols; ++k) sum += x.at(t, k) * w.at(n, k);
                return sum;
            });
        });
    }

    void input_gradient(const RowGroups& groups, Rows dx, Write write, Stream&) const override {
        for_each_group(groups, dx, [&](const Values& dy, const Values& w, Rows out) {
            write_to(out, write, [&](int t, int k) {
                double sum = 0;
                for (int n = 0; n < w.rows; ++n) sum += dy.at(t, n) * w.at(n, k);
                return sum;
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
        // Not stored: it stays in the wide type until d_inner is written.
        const DType dtype = wide(inner.dtype());
        std::vector<std::byte> memory(std::size_t(inner.rows() * (activated.cols() + inner.cols())) * size_of(dtype));
        const Rows d_activated(memory.data(), activated.rows(), activated.cols(), dtype);
        input_gradient(dy, d_activated, Write::assign, stream);
        activation_->forward(activation, inner, activated, stream);
        activation_->backward(activation, inner, d_activated, inner, stream);
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw, Write write,
                         Stream&) const override {
        for (std::size_t g = 0; g < dw.size(); ++g) {
            const int first = offsets[g], rows = offsets[g + 1] - first;
            const Values left = values_of(dy.slice(first, rows)), right = values_of(x.slice(first, rows));
            write_to(dw[g], write, [&](int n, int k) {
                double sum = 0;
                for (int t = 0; t < rows; ++t) sum += left.at(t, n) * right.at(t, k);
                return sum;
            });
        }
    }

private:
    // Calls work(rows, weight, out) for every group.
    template <class Work>
    static void for_each_group(const RowGroups& groups, Rows out, Work work) {
        for (std::size_t g = 0; g < groups.weights.size(); ++g) {
            const int first = groups.offsets[g], rows = groups.offsets[g + 1] - first;
            work(values_of(groups.rows.slice(first, rows)), values_of(*groups.weights[g]), out.slice(first, rows));
        }
    }

    std::unique_ptr<ActivationOperations> activation_ = make_reference_activation();
};

}  // namespace

std::unique_ptr<MatrixProduct> make_reference_product() {
    return std::make_unique<ReferenceProduct>();
}

}  // namespace expar
