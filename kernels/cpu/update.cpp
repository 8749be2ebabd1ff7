#include "expar/compute/update.hpp"

#include <cmath>
#include <cstring>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_floats = 1 << 14;

class CpuUpdate final : public UpdateOperations {
public:
    explicit CpuUpdate(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.update), rows_(context.kernels.rows) {}

    void adamw(const AdamW& options, ConstRows gradient, Rows value, Rows moment1, Rows moment2,
               Stream&) const override {
        const AdamWFactors factors = {
            .gradient_scale = float(options.gradient_scale),
            .beta1 = float(options.beta1),
            .beta2 = float(options.beta2),
            .one_minus_beta1 = float(1 - options.beta1),
            .one_minus_beta2 = float(1 - options.beta2),
            .inverse_correction1 = float(1 / (1 - std::pow(options.beta1, options.step))),
            .inverse_correction2 = float(1 / (1 - std::pow(options.beta2, options.step))),
            .epsilon = float(options.epsilon),
            .learning_rate = float(options.learning_rate),
            .weight_decay = float(options.weight_decay),
        };
        const auto g = floats(gradient);
        const auto w = floats(value);
        const auto m = floats(moment1);
        const auto v = floats(moment2);
        for_each_row(w, [&](long i) { kernels_.adamw(factors, {g.row(i), w.row(i), m.row(i), v.row(i)}, w.cols); });
    }

    void sgd(double learning_rate, double weight_decay, double gradient_scale, ConstRows gradient, Rows value,
             Stream&) const override {
        const auto g = floats(gradient);
        const auto w = floats(value);
        const SgdFactors factors{float(learning_rate), float(weight_decay), float(gradient_scale)};
        for_each_row(w, [&](long i) { kernels_.sgd(factors, g.row(i), w.row(i), w.cols); });
    }

    [[nodiscard]] double sum_of_squares(ConstRows values, Stream&) const override {
        const auto from = floats(values);
        std::vector<double> sums(std::size_t(from.rows));
        for_each_row(from, [&](long i) { sums[std::size_t(i)] = kernels_.sum_of_squares(from.row(i), from.cols); });
        double total = 0;
        for (const double sum : sums) total += sum;
        return total;
    }

    void sum_in_order(std::span<const ConstRows> parts, Rows out, Stream&) const override {
        std::vector<FloatRows<const float*>> from;
        for (const ConstRows& part : parts) from.push_back(floats(part));
        const auto to = floats(out);
        const std::vector<float> ones(parts.size(), 1.0F);
        for_each_row(to, [&](long i) {
            std::vector<const float*> rows;
            for (const auto& part : from) rows.push_back(part.row(i));
            rows_.weighted_sum(rows.data(), ones.data(), int(rows.size()), to.row(i), to.cols);
        });
    }

private:
    template <class Pointer, class Work>
    void for_each_row(const FloatRows<Pointer>& rows, Work work) const {
        const long grain = std::max(1L, grain_floats / std::max(1, rows.cols));
        threads_.for_each_range(rows.rows, grain, [&](long first, long last) {
            for (long i = first; i < last; ++i) work(i);
        });
    }

    const Threads& threads_;
    const UpdateKernels& kernels_;
    const RowKernels& rows_;
};

}  // namespace

std::unique_ptr<UpdateOperations> make_cpu_update(CpuContext context) {
    return std::make_unique<CpuUpdate>(context);
}

}  // namespace expar
