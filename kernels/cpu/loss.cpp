#include "expar/compute/loss.hpp"

#include <cmath>
#include <cstring>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_rows = 64;

class CpuLoss final : public LossOperations {
public:
    explicit CpuLoss(CpuContext context)
        : threads_(context.threads), softmax_(context.kernels.softmax), kernels_(context.kernels.loss) {}

    void forward(ConstRows logits, std::span<const int> targets, Rows losses, Rows log_sum_exp,
                 Stream&) const override {
        const auto from = floats(logits);
        const auto loss = floats(losses);
        const auto lse = floats(log_sum_exp);
        threads_.for_each_range(from.rows, grain_rows, [&](long first, long last) {
            for (long i = first; i < last; ++i) {
                const float* row = from.row(i);
                const float largest = softmax_.largest(row, from.cols);
                const float sum = softmax_.sum_of_exponentials(largest, row, from.cols);
                const double total = double(largest) + std::log(double(sum));
                const int target = targets[std::size_t(i)];
                *lse.row(i) = float(total);
                *loss.row(i) = target < 0 ? 0 : float(total - double(row[target]));
            }
        });
    }

    void backward(ConstRows logits, std::span<const int> targets, ConstRows log_sum_exp, double scale, Rows d_logits,
                  Stream&) const override {
        with_storage(d_logits.dtype(), [&]<class Element>(Element) {
            const auto from = floats(logits);
            const auto lse = floats(log_sum_exp);
            const auto to = elements<Element>(d_logits);
            threads_.for_each_range(from.rows, grain_rows, [&](long first, long last) {
                for (long i = first; i < last; ++i) {
                    const int target = targets[std::size_t(i)];
                    if (target < 0) {
                        std::memset(static_cast<void*>(to.row(i)), 0, std::size_t(to.cols) * sizeof(Element));
                        continue;
                    }
                    const double log_probability = double(from.row(i)[target]) - double(*lse.row(i));
                    kernels_.of<Element>().gradient(float(scale), *lse.row(i), from.row(i), to.row(i), to.cols);
                    to.row(i)[target] = rounded<Element>(scale * std::expm1(log_probability));
                }
            });
        });
    }

private:
    const Threads& threads_;
    const SoftmaxKernels& softmax_;
    const ByElement<LossKernels>& kernels_;
};

}  // namespace

std::unique_ptr<LossOperations> make_cpu_loss(CpuContext context) {
    return std::make_unique<CpuLoss>(context);
}

}  // namespace expar
