#include "expar/compute/norm.hpp"

#include <cmath>

#include "floats.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr int block_rows = NormOperations::block_rows;

class CpuNorm final : public NormOperations {
public:
    explicit CpuNorm(CpuContext context)
        : threads_(context.threads), kernels_(context.kernels.norm), rows_(context.kernels.rows) {}

    void forward(ConstRows x, ConstRows weight, double epsilon, Rows y, Rows inverse_rms, Stream&) const override {
        with_storage(x.dtype(), [&]<class Element>(Element) {
            const auto from = elements<Element>(x);
            const auto to = elements<Element>(y);
            const auto inverses = floats(inverse_rms);
            const auto scale = floats(weight);
            threads_.for_each_range(from.rows, block_rows, [&](long first, long last) {
                for (long i = first; i < last; ++i)
                    for (int g = 0; g < inverses.cols; ++g) {
                        const Element* in = from.row(i) + long(g) * scale.cols;
                        const double mean = double(rows_.of<Element>().dot(in, in, scale.cols)) / scale.cols;
                        const auto inverse = float(1 / std::sqrt(mean + epsilon));
                        inverses.row(i)[g] = inverse;
                        Element* out = to.row(i) + long(g) * scale.cols;
                        kernels_.of<Element>().apply(inverse, in, scale.data, out, scale.cols);
                    }
            });
        });
    }

    // Every block of rows has its own sum for d_weight; the sums are added in order afterwards.
    void backward(const Saved& saved, ConstRows dy, Rows dx, Write write, Rows d_weight, Stream&) const override {
        with_storage(saved.x.dtype(), [&]<class Element>(Element) {
            const Arguments<Element> in{elements<Element>(saved.x), floats(saved.weight),  floats(saved.inverse_rms),
                                        elements<Element>(dy),      elements<Element>(dx), write};
            const auto total = floats(d_weight);
            const long blocks = (in.x.rows + block_rows - 1) / block_rows;
            std::vector<float> sums(std::size_t(blocks * total.cols));
            threads_.for_each_range(blocks, 1, [&](long first, long last) {
                for (long block = first; block < last; ++block)
                    for (long i = block * block_rows; i < std::min<long>(in.x.rows, (block + 1) * block_rows); ++i)
                        for (int g = 0; g < in.inverse_rms.cols; ++g)
                            backward_group(in, i, g, sums.data() + block * total.cols);
            });
            for (long block = 0; block < blocks; ++block)
                rows_.wide.add(sums.data() + block * total.cols, total.data, total.cols);
        });
    }

private:
    template <class Element>
    struct Arguments {
        FloatRows<const Element*> x;
        FloatRows<const float*> weight, inverse_rms;
        FloatRows<const Element*> dy;
        FloatRows<Element*> dx;
        Write write;
    };

    // dx = r w dy - r³ mean(w dy x) x;  d_weight += r x dy
    template <class Element>
    void backward_group(const Arguments<Element>& in, long row, int group, float* d_weight) const {
        const NormKernels<Element>& kernels = kernels_.of<Element>();
        const int width = in.weight.cols;
        const long at = long(group) * width;
        const Element* x = in.x.row(row) + at;
        const Element* dy = in.dy.row(row) + at;
        const float r = in.inverse_rms.row(row)[group];
        const double mean = double(kernels.weighted_dot(in.weight.data, dy, x, width)) / width;
        kernels.add_weight_gradient(r, x, dy, d_weight, width);
        const auto apply = in.write == Write::add ? kernels.add_backward : kernels.backward;
        apply({r, float(double(r) * r * r * mean), x, in.weight.data, dy}, in.dx.row(row) + at, width);
    }

    const Threads& threads_;
    const ByElement<NormKernels>& kernels_;
    const ByElement<RowKernels>& rows_;
};

}  // namespace

std::unique_ptr<NormOperations> make_cpu_norm(CpuContext context) {
    return std::make_unique<CpuNorm>(context);
}

}  // namespace expar
