#include "expar/compute/update.hpp"

#include <cmath>

#include "operations.hpp"

namespace expar {
namespace {

class ReferenceUpdate final : public UpdateOperations {
public:
    void adamw(const AdamW& options, ConstRows gradient, Rows value, Rows moment1, Rows moment2,
               Stream&) const override {
        const double correction1 = 1 - std::pow(options.beta1, options.step);
        const double correction2 = 1 - std::pow(options.beta2, options.step);
        with_real(value.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < value.rows(); ++i)
                for (int c = 0; c < value.cols(); ++c) {
                    Real& w = value.row<Real>(i)[c];
                    Real& m = moment1.row<Real>(i)[c];
                    Real& v = moment2.row<Real>(i)[c];
                    const double g = options.gradient_scale * double(gradient.row<Real>(i)[c]);
                    m = Real(options.beta1 * double(m) + (1 - options.beta1) * g);
                    v = Real(options.beta2 * double(v) + (1 - options.beta2) * g * g);
                    const double direction =
                        double(m) / correction1 / (std::sqrt(double(v) / correction2) + options.epsilon);
                    w = Real(double(w) - options.learning_rate * (direction + options.weight_decay * double(w)));
                }
        });
    }

    void sgd(double learning_rate, double weight_decay, double gradient_scale, ConstRows gradient, Rows value,
             Stream&) const override {
        with_real(value.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < value.rows(); ++i)
                for (int c = 0; c < value.cols(); ++c) {
                    Real& w = value.row<Real>(i)[c];
                    const double g = gradient_scale * double(gradient.row<Real>(i)[c]);
                    w = Real(double(w) - learning_rate * (g + weight_decay * double(w)));
                }
        });
    }

    [[nodiscard]] double sum_of_squares(ConstRows values, Stream&) const override {
        double sum = 0;
        with_element(values.dtype(), [&]<class Element>(Element) {
            for (int i = 0; i < values.rows(); ++i)
                for (const Element value : values.row<Element>(i)) sum += double(value) * double(value);
        });
        return sum;
    }

    void sum_in_order(std::span<const ConstRows> parts, Rows out, Stream&) const override {
        with_real(out.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < out.rows(); ++i)
                for (int c = 0; c < out.cols(); ++c) {
                    Real sum = 0;
                    for (const ConstRows& part : parts) sum += part.row<Real>(i)[c];
                    out.row<Real>(i)[c] = sum;
                }
        });
    }
};

}  // namespace

std::unique_ptr<UpdateOperations> make_reference_update() {
    return std::make_unique<ReferenceUpdate>();
}

}  // namespace expar
