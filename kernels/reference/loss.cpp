#include "expar/compute/loss.hpp"

#include <algorithm>
#include <cmath>

#include "operations.hpp"

namespace expar {
namespace {

class ReferenceLoss final : public LossOperations {
public:
    void forward(ConstRows logits, std::span<const int> targets, Rows losses, Rows log_sum_exp,
                 Stream&) const override {
        with_real(logits.dtype(), [&]<class Real>(Real) {
            for (int i = 0; i < logits.rows(); ++i) {
                const auto row = logits.row<Real>(i);
                const double largest = double(*std::ranges::max_element(row));
                double sum = 0;
                for (const Real logit : row) sum += std::exp(double(logit) - largest);
                const double lse = largest + std::log(sum);
                log_sum_exp.row<Real>(i)[0] = Real(lse);
                losses.row<Real>(i)[0] = targets[i] < 0 ? Real(0) : Real(lse - double(row[targets[i]]));
            }
        });
    }

    void backward(ConstRows logits, std::span<const int> targets, ConstRows log_sum_exp, double scale, Rows d_logits,
                  Stream&) const override {
        with_elements(logits.dtype(), d_logits.dtype(), [&]<class Real, class Element>(Real, Element) {
            for (int i = 0; i < logits.rows(); ++i)
                for (int c = 0; c < logits.cols(); ++c) {
                    const double probability =
                        std::exp(double(logits.row<Real>(i)[c]) - double(log_sum_exp.row<Real>(i)[0]));
                    const double d = scale * (probability - (c == targets[i] ? 1 : 0));
                    d_logits.row<Element>(i)[c] = rounded<Element>(targets[i] < 0 ? 0 : d);
                }
        });
    }
};

}  // namespace

std::unique_ptr<LossOperations> make_reference_loss() {
    return std::make_unique<ReferenceLoss>();
}

}  // namespace expar
