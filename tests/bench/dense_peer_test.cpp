#include "dense_peer.hpp"

#include <gtest/gtest.h>

#include <array>

#include "expar/bench/kernel_case.hpp"

namespace expar {
namespace {

using Product = KernelCase::DenseProduct;

// An element of op(a) op(b), by the definition.
double expected(const Product& p, ConstRows a, ConstRows b, std::array<int, 2> at) {
    double sum = 0;
    for (int d = 0; d < p.depth; ++d)
        sum += double(p.a_transposed ? a.row<float>(d)[at[0]] : a.row<float>(at[0])[d]) *
               double(p.b_transposed ? b.row<float>(at[1])[d] : b.row<float>(d)[at[1]]);
    return sum;
}

Matrix stored(Device& device, int rows, int columns, bool transposed, std::uint64_t seed) {
    Matrix matrix(device, DType::float32, transposed ? columns : rows, transposed ? rows : columns);
    fill(matrix, 1, seed);
    return matrix;
}

TEST(DensePeer, EveryWayComputesTheProductThatWasAskedFor) {
    const auto peer = make_dense_peer(2, instruction_sets().front());
    if (!peer) GTEST_SKIP() << dense_peer_built_with();
    const auto device = make_reference_device();
    for (const Product& p : {Product{70, 40, 33, false, true, true},
                             {70, 33, 40, false, false, true},
                             {40, 33, 70, true, false, false, true}}) {
        const Matrix a = stored(*device, p.rows, p.depth, p.a_transposed, 1);
        const Matrix b = stored(*device, p.depth, p.columns, p.b_transposed, 2);
        for (const DType dtype : {DType::float32, DType::bfloat16})
            for (const auto& way : peer->ways(p, dtype)) {
                way.run();
                way.run();
                for (const auto at : {std::array{0, 0}, {p.rows - 1, 3}, {17, p.columns - 1}})
                    EXPECT_NEAR(way.result(at[0], at[1]), expected(p, a, b, at), dtype == DType::float32 ? 1e-4 : 0.5)
                        << way.name;
            }
    }
}

}  // namespace
}  // namespace expar
