#include "expar/train/optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "expar/train/schedule.hpp"
#include "expar/verify/plain_optimizer.hpp"

namespace expar {
namespace {

constexpr int count = 6;

// One dense block of a matrix and a norm's scale, and a router, in float64: values and gradients by element.
class OptimizerTest : public testing::Test {
protected:
    std::unique_ptr<Device> device = make_reference_device();
    std::vector<std::unique_ptr<ParameterBlock>> blocks = make_blocks();
    TrainOptions options{.schedule_steps = 30, .warmup_steps = 5, .learning_rate = 0.1, .weight_decay = 0.3};

    std::vector<std::unique_ptr<ParameterBlock>> make_blocks() {
        std::vector<std::unique_ptr<ParameterBlock>> made;
        const TensorSpec matrix{"layers.0.a.weight", 2, 3};
        const TensorSpec scale{"layers.0.norm.weight", 1, count, TensorSpec::Initial::ones};
        made.push_back(
            std::make_unique<ParameterBlock>(*device, DType::float64, BlockSpec{Role::dense, 0, -1, {scale, matrix}}));
        made.push_back(std::make_unique<ParameterBlock>(
            *device, DType::float64, BlockSpec{Role::router, 0, -1, {{"layers.0.router.weight", 2, 3}}}));
        for (const auto& block : made)
            for (int i = 0; i < block->flat_value().cols(); ++i)
                block->change_flat().row<double>(0)[i] = value(i % count);
        return made;
    }
    static double value(int i) { return 0.5 - 0.2 * i; }
    static double gradient(int i, int step) { return (i % 2 == 0 ? 1 : -1) * (0.1 + 0.05 * i) / step; }
    void step(Optimizer& optimizer, int number, double scale) {
        for (const auto& block : blocks)
            for (int i = 0; i < block->flat_gradient().cols(); ++i)
                block->flat_gradient().row<double>(0)[i] = gradient(i % count, number);
        optimizer.update(number, scale);
    }
    // The gradients of a step, three tensors of the same ones.
    static PlainWeights gradients_of(int number) {
        PlainWeights all;
        for (const std::string tensor : {"scale", "matrix", "router"})
            for (int i = 0; i < count; ++i) all[tensor].push_back(gradient(i, number));
        return all;
    }
    [[nodiscard]] double found(int block, int i) const { return blocks[block]->flat_value().row<double>(0)[i]; }
};

// With both moments from one gradient, bias correction leaves its sign: |g| / (|g| + ε).
TEST_F(OptimizerTest, TakesAFirstStepOfAdamWByTheSignOfTheGradient) {
    options.epsilon = 1e-3;
    Optimizer optimizer(*device, options, blocks);
    step(optimizer, 1, 0.5);
    const double rate = learning_rate_at(1, options);
    for (int i = 0; i < count; ++i) {
        const double g = 0.5 * gradient(i, 1);
        const double direction = g / (std::abs(g) + 1e-3);
        EXPECT_NEAR(found(0, i), value(i) - rate * direction, 1e-14) << "norms do not decay";
        EXPECT_NEAR(found(0, count + i), value(i) - rate * (direction + 0.3 * value(i)), 1e-14);
    }
}

// The moments as explicit weighted sums over all gradients so far, not as a recursion.
TEST_F(OptimizerTest, FollowsTheClosedFormOfAdamWOverManySteps) {
    Optimizer optimizer(*device, options, blocks);
    std::vector<double> expected;
    for (int i = 0; i < count; ++i) expected.push_back(value(i));
    for (int t = 1; t <= 40; ++t) {
        step(optimizer, t, 1);
        for (int i = 0; i < count; ++i) {
            double mean = 0, square = 0, weights1 = 0, weights2 = 0;
            for (int s = 1; s <= t; ++s) {
                const double weight1 = std::pow(options.beta1, t - s), weight2 = std::pow(options.beta2, t - s);
                mean += weight1 * gradient(i, s);
                square += weight2 * gradient(i, s) * gradient(i, s);
                weights1 += weight1;
                weights2 += weight2;
            }
            const double direction = mean / weights1 / (std::sqrt(square / weights2) + options.epsilon);
            expected[i] -= learning_rate_at(t, options) * (direction + options.weight_decay * expected[i]);
            EXPECT_NEAR(found(0, count + i), expected[i], 1e-13) << "step " << t;
        }
    }
}

TEST_F(OptimizerTest, GivesTheRouterItsOwnRate) {
    options.router_learning_rate_scale = 0.25;
    options.optimizer = "sgd";
    Optimizer optimizer(*device, options, blocks);
    step(optimizer, 1, 1);
    for (int i = 0; i < count; ++i) {
        const double change = learning_rate_at(1, options) * (gradient(i, 1) + 0.3 * value(i));
        EXPECT_NEAR(found(0, count + i), value(i) - change, 1e-15);
        EXPECT_NEAR(found(1, i), value(i) - 0.25 * change, 1e-15);
    }
}

TEST_F(OptimizerTest, SubtractsTheScaledGradientUnderSgd) {
    options.optimizer = "sgd";
    Optimizer optimizer(*device, options, blocks);
    step(optimizer, 7, 0.125);
    for (int i = 0; i < count; ++i)
        EXPECT_NEAR(found(0, i), value(i) - learning_rate_at(7, options) * 0.125 * gradient(i, 7), 1e-15);
    EXPECT_EQ(optimizer.moments(0).first.cols(), 0);
}

// The plain reference of verify shares no code with this optimizer; clipping is on, so that its factor acts too.
TEST_F(OptimizerTest, AgreesWithThePlainReference) {
    for (const std::string name : {"adamw", "sgd"}) {
        blocks = make_blocks();
        options.optimizer = name;
        options.router_learning_rate_scale = 0.5;
        Optimizer optimizer(*device, options, blocks);
        const auto tensors = [&](bool gradients) {
            PlainWeights found;
            for (const auto& block : blocks)
                for (int i = 0; i < int(block->spec().tensors.size()); ++i) {
                    const ConstRows flat = gradients ? ConstRows(block->flat_gradient()) : block->flat_value();
                    const auto row = flat.columns(int(block->offset(i)), count).row<double>(0);
                    found[block->spec().tensors[i].name] = {row.begin(), row.end()};
                }
            return found;
        };
        PlainState state{tensors(false), {}, {}};
        for (int t = 1; t <= 8; ++t) {
            step(optimizer, t, plain_clip_factor(plain_gradient_norm(gradients_of(t)), 0.2));
            const PlainOptimizer plain{.kind = name,
                                       .learning_rate = learning_rate_at(t, options),
                                       .router_scale = 0.5,
                                       .beta1 = options.beta1,
                                       .beta2 = options.beta2,
                                       .epsilon = options.epsilon,
                                       .weight_decay = options.weight_decay,
                                       .clip = 0.2};
            state = plain_update(plain, t, state, tensors(true));
            for (const auto& [tensor, values] : tensors(false))
                for (int i = 0; i < count; ++i)
                    EXPECT_NEAR(values[i], state.weights.at(tensor)[i], 1e-13)
                        << name << " " << tensor << " step " << t;
        }
    }
}

TEST_F(OptimizerTest, RefusesAnUnknownName) {
    options.optimizer = "adam";
    EXPECT_THROW(Optimizer(*device, options, blocks), UserError);
}

}  // namespace
}  // namespace expar
