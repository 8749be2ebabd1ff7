#include "expar/model/attention_layer.hpp"

#include <gtest/gtest.h>

#include "expar/compute/rows.hpp"
#include "support/gradient_check.hpp"
#include "test_model.hpp"

namespace expar {
namespace {

double dot(ConstRows a, ConstRows b) {
    double sum = 0;
    for (int r = 0; r < a.rows(); ++r)
        for (int c = 0; c < a.cols(); ++c) sum += element(a, r, c) * element(b, r, c);
    return sum;
}

class AttentionLayerTest : public testing::TestWithParam<std::tuple<std::string, int>> {
protected:
    AttentionLayerTest() : options(with_parameters()), block(*device, DType::float64, spec()) {
        block.initialize(1);
        scatter_values(block.change_flat(), 2);
    }
    static ModelOptions with_parameters() {
        ModelOptions options = small_options();
        options.qk_norm = std::get<0>(GetParam());
        options.kv_heads = std::get<1>(GetParam());
        return options.resolved();
    }
    [[nodiscard]] BlockSpec spec() const { return {.layer = 1, .tensors = attention_tensors(options, 1)}; }
    [[nodiscard]] Matrix random(int rows, int cols, std::uint64_t seed) {
        return random_matrix(*device, DType::float64, rows, cols, seed);
    }

    std::unique_ptr<Device> device = make_reference_device();
    ModelOptions options;
    ParameterBlock block;
};

TEST_P(AttentionLayerTest, GradientsMatchFiniteDifferences) {
    const AttentionLayer layer(*device, options, 1, block);
    const MicroBatch batch = random_batch({4, 1, 3}, options.vocabulary, 3);
    Matrix x = random(batch.token_count(), options.hidden, 4);
    const Matrix d_y = random(batch.token_count(), options.hidden, 5);
    Matrix y(*device, DType::float64, x.rows(), x.cols());
    const auto objective = [&] {
        (void)layer.forward(batch, x, y);
        return dot(y, d_y);
    };

    const AttentionState state = layer.forward(batch, x, y);
    Matrix d_x(*device, DType::float64, x.rows(), x.cols());
    layer.backward(batch, x, state, d_y, d_x);

    EXPECT_LT(gradient_error(x, d_x, objective), 1e-9);
    for (int tensor = 0; tensor + 1 < int(block.spec().tensors.size()); ++tensor)
        EXPECT_LT(gradient_error(block.change(tensor), block.gradient(tensor), objective), 1e-9)
            << block.spec().tensors[tensor].name;
}

TEST_P(AttentionLayerTest, BackwardAddsToTheGradient) {
    const AttentionLayer layer(*device, options, 1, block);
    const MicroBatch batch = random_batch({5}, options.vocabulary, 3);
    const Matrix x = random(batch.token_count(), options.hidden, 4);
    const Matrix d_y = random(batch.token_count(), options.hidden, 5);
    Matrix y(*device, DType::float64, x.rows(), x.cols());
    Matrix d_x(*device, DType::float64, x.rows(), x.cols());
    const AttentionState state = layer.forward(batch, x, y);
    layer.backward(batch, x, state, d_y, d_x);
    Matrix once(*device, DType::float64, 1, block.flat_gradient().cols());
    device->rows().gather(ConstRows(block.flat_gradient()), std::array{0}, once, device->stream());

    layer.backward(batch, x, state, d_y, d_x);

    device->rows().add(once, once, device->stream());
    EXPECT_LT(relative_error(block.flat_gradient(), once), 1e-14);
}

// The later rows reach the earlier ones neither within a sequence nor across two.
TEST_P(AttentionLayerTest, ATokenReadsNothingButItsOwnPast) {
    const AttentionLayer layer(*device, options, 1, block);
    const MicroBatch batch = random_batch({4, 3}, options.vocabulary, 3);
    Matrix x = random(batch.token_count(), options.hidden, 4);
    Matrix before(*device, DType::float64, x.rows(), x.cols());
    Matrix after(*device, DType::float64, x.rows(), x.cols());
    (void)layer.forward(batch, x, before);
    x.view().row<double>(2)[0] += 1;
    (void)layer.forward(batch, x, after);

    for (int t = 0; t < batch.token_count(); ++t)
        EXPECT_EQ(same_bits(before.view().slice(t, 1), after.view().slice(t, 1)), t < 2 || t >= 4) << "token " << t;
}

TEST_P(AttentionLayerTest, NoTokensAreLegal) {
    const AttentionLayer layer(*device, options, 1, block);
    const MicroBatch none;
    Matrix x(*device, DType::float64, 0, options.hidden), y(*device, DType::float64, 0, options.hidden);
    const AttentionState state = layer.forward(none, x, y);
    layer.backward(none, x, state, y, x);
    EXPECT_EQ(dot(block.flat_gradient(), block.flat_gradient()), 0);
}

INSTANTIATE_TEST_SUITE_P(NormsAndGroups, AttentionLayerTest,
                         testing::Combine(testing::Values("none", "projection", "head"), testing::Values(1, 2, 4)));

TEST(QkNormTest, NamesAreListed) {
    try {
        (void)qk_norm_named("layer");
        FAIL();
    } catch (const UserError& error) {
        EXPECT_STREQ(error.what(), "unknown norm of queries and keys 'layer'; known: none, projection, head");
    }
}

TEST(KvCacheTest, RefusesWhatDoesNotFit) {
    const auto device = make_reference_device();
    KvCache cache(*device, DType::float32, small_options().resolved(), 4);
    cache.grow(3);
    EXPECT_THROW(cache.grow(2), Error);
    EXPECT_EQ(cache.length(), 3);
}

}  // namespace
}  // namespace expar
