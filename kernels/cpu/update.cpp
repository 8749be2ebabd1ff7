#include "expar/compute/update.hpp"

#include <cmath>
#include <cstring>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long run_floats = 1 << 14;  // below this, a second thread costs more than it saves

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
        for_each_run(w, [&](long i, long first, long count) {
            kernels_.adamw(factors, {g.row(i) + first, w.row(i) + first, m.row(i) + first, v.row(i) + first}, count);
        });
    }

    void sgd(double learning_rate, double weight_decay, double gradient_scale, ConstRows gradient, Rows value,
             Stream&) const override {
        const auto g = floats(gradient);
        const auto w = floats(value);
        const SgdFactors factors{float(learning_rate), float(weight_decay), float(gradient_scale)};
        for_each_run(w, [&](long i, long first, long count) {
            kernels_.sgd(factors, g.row(i) + first, w.row(i) + first, count);
        });
    }

    [[nodiscard]] double sum_of_squares(ConstRows values, Stream&) const override {
        std::vector<double> sums;
        with_storage(values.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(values);
            const long runs = runs_of(from);
            sums.resize(std::size_t(from.rows * runs));
            for_each_run(from, [&](long i, long first, long count) {
                sums[std::size_t(i * runs + first / run_floats)] =
                    rows_.of<Element>().sum_of_squares(from.row(i) + first, count);
            });
        });
        double total = 0;
        for (const double sum : sums) total += sum;
        return total;
    }

    void sum_in_order(std::span<const ConstRows> parts, Rows out, Stream&) const override {
        std::vector<FloatRows<const float*>> from;
        for (const ConstRows& part : parts) from.push_back(floats(part));
        const auto to = floats(out);
        const std::vector<float> ones(parts.size(), 1.0F);
        for_each_run(to, [&](long i, long first, long count) {
            std::vector<const float*> rows;
            for (const auto& part : from) rows.push_back(part.row(i) + first);
            rows_.wide.weighted_sum.ordinary({rows.data(), ones.data(), int(rows.size())}, to.row(i) + first, count);
        });
    }

private:
    template <class Pointer>
    static long runs_of(const FloatRows<Pointer>& rows) {
        return (long(rows.cols) + run_floats - 1) / run_floats;
    }

    // Calls work(row, first column, columns) for runs that depend on the shape alone: a block of parameters is one row.
    template <class Pointer, class Work>
    void for_each_run(const FloatRows<Pointer>& rows, Work work) const {
        const long runs = runs_of(rows);
        const long grain = std::max(1L, run_floats / std::max(1, rows.cols));
        threads_.for_each_range(rows.rows * runs, grain, [&](long begin, long end) {
            for (long run = begin; run < end; ++run) {
                const long first = run % runs * run_floats;
                work(run / runs, first, std::min(run_floats, rows.cols - first));
            }
        });
    }

    const Threads& threads_;
    const UpdateKernels& kernels_;
    const ByElement<RowKernels>& rows_;
};

}  // namespace

std::unique_ptr<UpdateOperations> make_cpu_update(CpuContext context) {
    return std::make_unique<CpuUpdate>(context);
}

}  // namespace expar
