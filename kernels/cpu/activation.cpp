#include "expar/compute/activation.hpp"

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr long grain_floats = 1 << 12;  // an exponential costs about ten times a copy

class CpuActivation final : public ActivationOperations {
public:
    explicit CpuActivation(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.activation), conversion_(context.kernels.conversion) {}

    void forward(Activation kind, ConstRows inner, Rows out, Stream&) const override {
        if (inner.dtype() == DType::bfloat16) return forward_narrow(kind, inner, out);
        const auto from = floats(inner);
        const auto to = floats(out);
        const auto curve = forward_curve(kind);
        for_each_row(to.rows, to.cols, [&](long i) { curve(from.row(i), to.row(i), to.cols); });
    }

    void backward(Activation kind, ConstRows inner, ConstRows d_out, Rows d_inner, Stream&) const override {
        if (inner.dtype() == DType::bfloat16) return backward_narrow(kind, inner, d_out, d_inner);
        const auto from = floats(inner);
        const auto gradient = floats(d_out);
        const auto to = floats(d_inner);
        const int width = gradient.cols;
        const auto curve = backward_curve(kind);
        for_each_row(gradient.rows, width, [&](long i) { curve(from.row(i), gradient.row(i), to.row(i), width); });
    }

private:
    void forward_narrow(Activation kind, ConstRows inner, Rows out) const {
        const auto from = elements<bfloat16>(inner);
        const auto to = elements<bfloat16>(out);
        const auto curve = forward_curve(kind);
        threads_.for_each_task(to.rows, [&](long i, Scratch& scratch) {
            float* in = scratch.floats(std::size_t(from.cols) + std::size_t(to.cols));
            conversion_.widen(from.row(i), in, from.cols);
            curve(in, in + from.cols, to.cols);
            conversion_.round(in + from.cols, to.row(i), to.cols);
        });
    }

    void backward_narrow(Activation kind, ConstRows inner, ConstRows d_out, Rows d_inner) const {
        const auto from = elements<bfloat16>(inner);
        const auto to = elements<bfloat16>(d_inner);
        const auto curve = backward_curve(kind);
        threads_.for_each_task(from.rows, [&](long i, Scratch& scratch) {
            float* in = scratch.floats(std::size_t(from.cols) + std::size_t(d_out.cols()));
            float* gradient = in + from.cols;
            conversion_.widen(from.row(i), in, from.cols);
            if (d_out.dtype() == DType::bfloat16)
                conversion_.widen(elements<bfloat16>(d_out).row(i), gradient, d_out.cols());
            else
                std::copy_n(floats(d_out).row(i), d_out.cols(), gradient);
            curve(in, gradient, in, d_out.cols());
            conversion_.round(in, to.row(i), to.cols);
        });
    }

    template <class Work>
    void for_each_row(int rows, int cols, Work work) const {
        threads_.for_each_range(rows, std::max(1L, grain_floats / std::max(1, cols)), [&](long first, long last) {
            for (long i = first; i < last; ++i) work(i);
        });
    }

    [[nodiscard]] ActivationKernels::Forward forward_curve(Activation kind) const {
        switch (kind) {
            case Activation::swiglu:
                return kernels_.swiglu;
            case Activation::gelu:
                return kernels_.gelu;
            case Activation::gelu_tanh:
                return kernels_.gelu_tanh;
            case Activation::relu:
                return kernels_.relu;
        }
        throw Error(concat("activation: unknown kind ", int(kind)));
    }

    [[nodiscard]] ActivationKernels::Backward backward_curve(Activation kind) const {
        switch (kind) {
            case Activation::swiglu:
                return kernels_.swiglu_backward;
            case Activation::gelu:
                return kernels_.gelu_backward;
            case Activation::gelu_tanh:
                return kernels_.gelu_tanh_backward;
            case Activation::relu:
                return kernels_.relu_backward;
        }
        throw Error(concat("activation: unknown kind ", int(kind)));
    }

    const Threads& threads_;
    const ActivationKernels& kernels_;
    const ConversionKernels& conversion_;
};

}  // namespace

std::unique_ptr<ActivationOperations> make_cpu_activation(CpuContext context) {
    return std::make_unique<CpuActivation>(context);
}

}  // namespace expar
