#include "expar/compute/norm.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "operations.hpp"

namespace expar {
namespace {

template <class Element>
void forward_group(std::span<const Element> x, std::span<const Wide<Element>> weight, double epsilon,
                   std::span<Element> y, Wide<Element>& inverse_rms) {
    double squares = 0;
    for (const Element value : x) squares += double(value) * double(value);
    const double scale = 1 / std::sqrt(squares / double(x.size()) + epsilon);
    inverse_rms = Wide<Element>(scale);
    for (std::size_t c = 0; c < x.size(); ++c) y[c] = rounded<Element>(double(x[c]) * scale * double(weight[c]));
}

template <class Element>
struct Group {
    std::span<const Element> x;
    std::span<const Wide<Element>> weight;
    double inverse_rms;
};

// dx = r (w dy) - x r³ mean(w dy x)
template <class Element>
void backward_group(const Group<Element>& group, std::span<const Element> dy, std::span<Element> dx, Write write) {
    const auto& [x, weight, r] = group;
    double mean = 0;
    for (std::size_t c = 0; c < x.size(); ++c) mean += double(weight[c]) * double(dy[c]) * double(x[c]);
    mean /= double(x.size());
    for (std::size_t c = 0; c < x.size(); ++c) {
        const double d = r * double(weight[c]) * double(dy[c]) - double(x[c]) * r * r * r * mean;
        dx[c] = rounded<Element>(write == Write::assign ? d : double(dx[c]) + d);
    }
}

class ReferenceNorm final : public NormOperations {
public:
    void forward(ConstRows x, ConstRows weight, double epsilon, Rows y, Rows inverse_rms, Stream&) const override {
        const std::size_t width = weight.cols();
        with_element(x.dtype(), [&]<class Element>(Element) {
            for (int i = 0; i < x.rows(); ++i)
                for (int g = 0; g < inverse_rms.cols(); ++g)
                    forward_group<Element>(x.row<Element>(i).subspan(g * width, width), weight.row<Wide<Element>>(0),
                                           epsilon, y.row<Element>(i).subspan(g * width, width),
                                           inverse_rms.row<Wide<Element>>(i)[g]);
        });
    }

    void backward(const Saved& saved, ConstRows dy, Rows dx, Write write, Rows d_weight, Stream&) const override {
        const auto& [x, weight, inverse_rms] = saved;
        with_element(x.dtype(), [&]<class Element>(Element) {
            for (int first = 0; first < x.rows(); first += block_rows) {
                const int rows = std::min(block_rows, x.rows() - first);
                add_weight_gradient<Element>(x.slice(first, rows), inverse_rms.slice(first, rows),
                                             dy.slice(first, rows), d_weight);
            }
            const std::size_t width = weight.cols();
            for (int i = 0; i < x.rows(); ++i)
                for (int g = 0; g < inverse_rms.cols(); ++g)
                    backward_group<Element>({x.row<Element>(i).subspan(g * width, width), weight.row<Wide<Element>>(0),
                                             double(inverse_rms.row<Wide<Element>>(i)[g])},
                                            dy.row<Element>(i).subspan(g * width, width),
                                            dx.row<Element>(i).subspan(g * width, width), write);
        });
    }

private:
    template <class Element>
    static void add_weight_gradient(ConstRows x, ConstRows inverse_rms, ConstRows dy, Rows d_weight) {
        for (int c = 0; c < d_weight.cols(); ++c) {
            double sum = 0;
            for (int i = 0; i < x.rows(); ++i)
                for (int g = 0; g < inverse_rms.cols(); ++g) {
                    const int at = g * d_weight.cols() + c;
                    sum += double(dy.row<Element>(i)[at]) * double(x.row<Element>(i)[at]) *
                           double(inverse_rms.row<Wide<Element>>(i)[g]);
                }
            d_weight.row<Wide<Element>>(0)[c] += Wide<Element>(sum);
        }
    }
};

}  // namespace

std::unique_ptr<NormOperations> make_reference_norm() {
    return std::make_unique<ReferenceNorm>();
}

}  // namespace expar
