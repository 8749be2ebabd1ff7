#include "expar/train/clip.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "expar/verify/plain_optimizer.hpp"
#include "held_blocks.hpp"

namespace expar {
namespace {

constexpr int experts = 5;

// Each block has a value of its own, so that one counted twice, or not at all, changes its sum.
float value_of(const BlockSpec& spec) {
    return float(1 + (spec.layer + 1) * 10 + spec.expert) / 7;
}

TEST(Clip, CountsEveryParameterAndEveryExpertOnceInAnyLayout) {
    const Communicator world(MPI_COMM_WORLD);
    const auto device = make_reference_device();
    const auto specs = small_blocks(experts);
    double dense = 0, router = 0, expert = 0;
    for (const auto& spec : specs)
        (spec.role == Role::dense    ? dense
         : spec.role == Role::router ? router
                                     : expert) += double(spec.count()) * std::pow(double(value_of(spec)), 2);

    GradientNorm first;
    for (const auto& model : hosted_models(world.size(), 2, experts)) {
        const Blocks blocks = held_blocks(*device, model, specs, world.rank());
        for (const auto& block : blocks)
            for (float& element : block->flat_gradient().row<float>(0)) element = value_of(block->spec());
        const GradientNorm norm = gradient_norm(*device, blocks, model.placement, model.layout, world);

        EXPECT_NEAR(norm.dense / std::sqrt(dense), 1, 1e-12) << model.name;
        EXPECT_NEAR(norm.router / std::sqrt(router), 1, 1e-12) << model.name;
        EXPECT_NEAR(norm.experts / std::sqrt(expert), 1, 1e-12) << model.name;
        EXPECT_NEAR(norm.total() / std::sqrt(dense + router + expert), 1, 1e-12) << model.name;
        if (first.dense == 0) first = norm;
        // Added in the same order everywhere: not one bit depends on the layout.
        EXPECT_EQ(norm.dense, first.dense) << model.name;
        EXPECT_EQ(norm.experts, first.experts) << model.name;
    }
}

TEST(Clip, LimitsTheNormAndLeavesSmallerOnesAlone) {
    EXPECT_DOUBLE_EQ(clip_factor(4, 1), 0.25);
    EXPECT_EQ(clip_factor(1, 1), 1);
    EXPECT_EQ(clip_factor(0.5, 1), 1);
    EXPECT_EQ(clip_factor(0, 1), 1);
    EXPECT_EQ(clip_factor(100, 0), 1);
    for (const double norm : {0.0, 0.3, 1.0, 7.5})
        for (const double limit : {0.0, 0.5, 3.0})
            EXPECT_DOUBLE_EQ(clip_factor(norm, limit), plain_clip_factor(norm, limit));
}

}  // namespace
}  // namespace expar
