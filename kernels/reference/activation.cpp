#include "expar/compute/activation.hpp"

#include <cmath>
#include <numbers>

#include "operations.hpp"

namespace expar {
namespace {

// f(x) and its derivative, in float64.
struct Point {
    double value;
    double slope;
};

Point silu(double x) {
    const double sigmoid = 1 / (1 + std::exp(-x));
    return {x * sigmoid, sigmoid * (1 + x * (1 - sigmoid))};
}

Point gelu(double x) {
    const double cumulative = 0.5 * std::erfc(-x / std::numbers::sqrt2);
    const double density = std::exp(-0.5 * x * x) / std::sqrt(2 * std::numbers::pi);
    return {x * cumulative, cumulative + x * density};
}

Point gelu_tanh(double x) {
    const double scale = std::sqrt(2 / std::numbers::pi);
    const double cubic = 0.044715;
    const double t = std::tanh(scale * (x + cubic * x * x * x));
    const double inner_slope = scale * (1 + 3 * cubic * x * x);
    return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * inner_slope};
}

Point relu(double x) {
    return x > 0 ? Point{x, 1} : Point{0, 0};
}

Point evaluate(Activation kind, double x) {
    switch (kind) {
        case Activation::swiglu:
            return silu(x);
        case Activation::gelu:
            return gelu(x);
        case Activation::gelu_tanh:
            return gelu_tanh(x);
        case Activation::relu:
            return relu(x);
    }
    throw Error(concat("activation: unknown kind ", int(kind)));
}

class ReferenceActivation final : public ActivationOperations {
public:
    void forward(Activation kind, ConstRows inner, Rows out, Stream&) const override {
        with_element(inner.dtype(), [&]<class Element>(Element) {
            const int width = out.cols();
            for (int i = 0; i < out.rows(); ++i)
                for (int c = 0; c < width; ++c) {
                    const auto in = inner.row<Element>(i);
                    const double up = kind == Activation::swiglu ? double(in[width + c]) : 1;
                    out.row<Element>(i)[c] = rounded<Element>(evaluate(kind, double(in[c])).value * up);
                }
        });
    }

    void backward(Activation kind, ConstRows inner, ConstRows d_out, Rows d_inner, Stream&) const override {
        with_elements(inner.dtype(), d_out.dtype(), [&]<class Element, class Gradient>(Element, Gradient) {
            const int width = d_out.cols();
            for (int i = 0; i < d_out.rows(); ++i)
                for (int c = 0; c < width; ++c) {
                    const auto in = inner.row<Element>(i);
                    const double d = double(d_out.row<Gradient>(i)[c]);
                    const Point at = evaluate(kind, double(in[c]));
                    const double up = kind == Activation::swiglu ? double(in[width + c]) : 1;
                    d_inner.row<Element>(i)[c] = rounded<Element>(d * up * at.slope);
                    if (kind == Activation::swiglu) d_inner.row<Element>(i)[width + c] = rounded<Element>(d * at.value);
                }
        });
    }
};

}  // namespace

std::unique_ptr<ActivationOperations> make_reference_activation() {
    return std::make_unique<ReferenceActivation>();
}

}  // namespace expar
