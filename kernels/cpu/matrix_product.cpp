#include "expar/compute/matrix_product.hpp"

#include <omp.h>

#include <algorithm>
#include <vector>

#include "onednn.hpp"
#include "operations.hpp"

namespace expar {
namespace {

constexpr int block_rows = MatrixProduct::block_rows;

// Rows first … first + rows of group `group`.
struct Block {
    std::size_t group;
    int first;
    int rows;
};

std::vector<Block> blocks_of(std::span<const int> offsets) {
    std::vector<Block> blocks;
    for (std::size_t g = 0; g + 1 < offsets.size(); ++g)
        for (int first = offsets[g]; first < offsets[g + 1]; first += block_rows)
            blocks.push_back({g, first, std::min(block_rows, offsets[g + 1] - first)});
    return blocks;
}

const float* floats(ConstRows rows) {
    if (rows.dtype() != DType::float32) throw Error(concat("cpu: expected float32, got ", name_of(rows.dtype())));
    return static_cast<const float*>(rows.data());
}
float* floats(Rows rows) {
    if (rows.dtype() != DType::float32) throw Error(concat("cpu: expected float32, got ", name_of(rows.dtype())));
    return static_cast<float*>(rows.data());
}

// The rows of a block as block_rows rows: in place when there are as many, else copied above rows of zeros.
Factor padded(ConstRows rows, std::vector<float>& copy, Layout layout) {
    if (rows.rows() == block_rows) return {floats(rows), long(rows.stride()), layout};
    copy.assign(std::size_t(block_rows) * rows.cols(), 0);
    for (int r = 0; r < rows.rows(); ++r)
        std::ranges::copy(rows.row<float>(r), copy.begin() + std::ptrdiff_t(r) * rows.cols());
    return {copy.data(), rows.cols(), layout};
}

// y (+)= x b for one block: always block_rows rows, so that the bits of a row do not depend on how many there are.
void multiply_block(ConstRows x, Factor b, Rows y, Write write) {
    std::vector<float> x_copy, y_copy;
    const Factor a = padded(x, x_copy, Layout::plain);
    const float beta = write == Write::add ? 1.0F : 0.0F;
    if (y.rows() == block_rows)
        return single_product(block_rows, y.cols(), x.cols(), a, b, beta, floats(y), y.stride());
    (void)padded(y, y_copy, Layout::plain);
    single_product(block_rows, y.cols(), x.cols(), a, b, beta, y_copy.data(), y.cols());
    for (int r = 0; r < y.rows(); ++r)
        std::copy_n(y_copy.begin() + std::ptrdiff_t(r) * y.cols(), y.cols(), y.row<float>(r).begin());
}

class CpuProduct final : public MatrixProduct {
public:
    explicit CpuProduct(int threads) : threads_(threads) {}
    using MatrixProduct::forward;
    using MatrixProduct::input_gradient;
    using MatrixProduct::weight_gradient;

    void forward(ConstRows x, std::span<const int> offsets, std::span<const ConstRows> w, Rows y, Write write,
                 Stream&) const override {
        multiply(x, offsets, w, Layout::transposed, y, write);
    }

    void input_gradient(ConstRows dy, std::span<const int> offsets, std::span<const ConstRows> w, Rows dx, Write write,
                        Stream&) const override {
        multiply(dy, offsets, w, Layout::plain, dx, write);
    }

    void weight_gradient(ConstRows dy, ConstRows x, std::span<const int> offsets, std::span<const Rows> dw,
                         Stream&) const override {
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
        for (std::size_t g = 0; g < dw.size(); ++g) {
            std::vector<float> dy_copy, x_copy;
            for (int first = offsets[g]; first < offsets[g + 1]; first += block_rows) {
                const int rows = std::min(block_rows, offsets[g + 1] - first);
                const Factor a = padded(dy.slice(first, rows), dy_copy, Layout::transposed);
                const Factor b = padded(x.slice(first, rows), x_copy, Layout::plain);
                single_product(dy.cols(), x.cols(), block_rows, a, b, 1, floats(dw[g]), dw[g].stride());
            }
        }
    }

private:
    void multiply(ConstRows x, std::span<const int> offsets, std::span<const ConstRows> w, Layout layout, Rows y,
                  Write write) const {
        const auto blocks = blocks_of(offsets);
#pragma omp parallel for schedule(dynamic) num_threads(threads_)
        for (const Block& block : blocks) {
            const ConstRows weight = w[block.group];
            multiply_block(x.slice(block.first, block.rows), {floats(weight), long(weight.stride()), layout},
                           y.slice(block.first, block.rows), write);
        }
    }

    int threads_;
};

}  // namespace

std::unique_ptr<MatrixProduct> make_cpu_product(int threads) {
    return std::make_unique<CpuProduct>(threads);
}

}  // namespace expar
