#include <gtest/gtest.h>

#include <cmath>

#include "support/moe_on_ranks.hpp"

namespace expar {
namespace {

constexpr int tokens = 9;

struct Case {
    std::string name;
    MoeOptions options;
};

MoeOptions options(RouterConvention convention, int top_k, Activation activation, SharedExpert shared) {
    MoeOptions result;
    result.hidden = 6;
    result.intermediate = 5;
    result.experts = 4;
    result.top_k = top_k;
    result.convention = convention;
    result.activation = activation;
    result.shared = shared;
    result.shared_intermediate = 3;
    result.initial_std = 0.6;
    return result;
}

class MoeLayerGradient : public testing::TestWithParam<Case> {
protected:
    Communicator self{MPI_COMM_SELF};
    std::unique_ptr<Device> device = make_reference_device();
    MoeOnRanks moe{GetParam().options, linear_placement(1, 4, 1), DType::float64, *device, self};
    Matrix x = random_tokens(*device, DType::float64, tokens, 6, 1);
    Matrix d_y = random_tokens(*device, DType::float64, tokens, 6, 2);

    static constexpr double balance = 0.3;
    static constexpr double z = 0.02;

    // L = Σ y · d_y + balance · E Σ f P + z / T · Σ lse²
    double objective() const {
        auto [y, state] = moe.layer->forward(x, {}, false);
        double sum = 0;
        for (int t = 0; t < tokens; ++t)
            for (int c = 0; c < 6; ++c) sum += y.view().row<double>(t)[c] * d_y.view().row<double>(t)[c];
        return sum + balance * balance_loss(state.statistics, GetParam().options.top_k) +
               z / tokens * state.statistics.squared_log_sum_exp;
    }

    double slope(double& value) const {
        const double step = 1e-6, kept = value;
        value = kept + step;
        const double above = objective();
        value = kept - step;
        const double below = objective();
        value = kept;
        return (above - below) / (2 * step);
    }
};

TEST_P(MoeLayerGradient, EqualsFiniteDifferences) {
    auto [y, state] = moe.layer->forward(x, {}, false);
    const auto share = balance_gradient(state.statistics, GetParam().options.top_k, balance, tokens);
    const Matrix d_x = moe.layer->backward(x, state, d_y, {share, z / tokens});

    double largest = 0;
    for (int t = 0; t < tokens; ++t)
        for (int c = 0; c < 6; ++c) {
            const double gradient = d_x.view().row<double>(t)[c];
            EXPECT_NEAR(gradient, slope(x.view().row<double>(t)[c]), 2e-8 * std::max(1., std::abs(gradient)));
            largest = std::max(largest, std::abs(gradient));
        }
    EXPECT_GT(largest, 0.01);
    for (const auto& block : moe.blocks) {
        const Rows values = block->change_flat(), gradients = block->flat_gradient();
        for (int i = 0; i < values.cols(); ++i) {
            const double gradient = gradients.row<double>(0)[i];
            EXPECT_NEAR(gradient, slope(values.row<double>(0)[i]), 2e-8 * std::max(1., std::abs(gradient)))
                << block->spec().name() << " element " << i;
        }
    }
}

TEST_P(MoeLayerGradient, AddsUpOverPassesSinceItWasCleared) {
    const auto pass = [&] {
        auto [y, state] = moe.layer->forward(x, {}, false);
        const auto share = balance_gradient(state.statistics, GetParam().options.top_k, balance, tokens);
        static_cast<void>(moe.layer->backward(x, state, d_y, {share, z / tokens}));
    };
    const auto gradient = [&](std::size_t block) {
        const auto row = moe.blocks[block]->flat_gradient().row<double>(0);
        return std::vector<double>(row.begin(), row.end());
    };
    for (int before : {0, 2}) {  // passes before the clearing
        for (int i = 0; i < before; ++i) pass();
        for (const auto& block : moe.blocks) block->clear_gradient();
        pass();
        std::vector<std::vector<double>> once;
        for (std::size_t b = 0; b < moe.blocks.size(); ++b) once.push_back(gradient(b));
        pass();
        for (std::size_t b = 0; b < moe.blocks.size(); ++b) {
            const auto twice = gradient(b);
            for (std::size_t i = 0; i < twice.size(); ++i) EXPECT_NEAR(twice[i], 2 * once[b][i], 1e-12);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Cases, MoeLayerGradient,
    testing::Values(
        Case{"mixtral", options(RouterConvention::softmax_renormalized, 2, Activation::swiglu, SharedExpert::none)},
        Case{"olmoe", options(RouterConvention::softmax, 3, Activation::swiglu, SharedExpert::none)},
        Case{"gpt_oss", options(RouterConvention::topk_softmax, 2, Activation::gelu_tanh, SharedExpert::none)},
        Case{"switch_relu", options(RouterConvention::top1_probability, 1, Activation::relu, SharedExpert::none)},
        Case{"qwen2_moe", options(RouterConvention::softmax, 2, Activation::swiglu, SharedExpert::gated)},
        Case{"deepseek", options(RouterConvention::softmax, 2, Activation::gelu, SharedExpert::sum)},
        Case{"mixtral_top1",
             options(RouterConvention::softmax_renormalized, 1, Activation::swiglu, SharedExpert::none)}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace expar
