#include "expar/train/gradient_reducer.hpp"

#include <gtest/gtest.h>

#include <bit>

#include "expar/base/random.hpp"
#include "held_blocks.hpp"

namespace expar {
namespace {

constexpr int experts = 5;

class GradientReducerTest : public testing::Test {
protected:
    Communicator world{MPI_COMM_WORLD};
    std::unique_ptr<Device> device = make_reference_device();
    std::vector<BlockSpec> specs = small_blocks(experts);

    void fill(const Blocks& blocks, const auto& value) const {
        for (const auto& block : blocks) {
            const auto gradient = block->flat_gradient().row<float>(0);
            for (std::size_t i = 0; i < gradient.size(); ++i) gradient[i] = value(block->spec(), world.rank(), i);
        }
    }
    // Ranks reach their blocks in orders of their own.
    void reduce(GradientReducer& reducer, const Blocks& blocks) const {
        for (std::size_t i = 0; i < blocks.size(); ++i)
            reducer.ready(*blocks[world.rank() % 2 == 0 ? blocks.size() - 1 - i : i]);
        reducer.finish();
    }
};

// Powers of two, one per rank: the sum tells exactly who was added, and how often.
TEST_F(GradientReducerTest, AddsEveryHostOnce) {
    for (const auto& model : hosted_models(world.size(), 2, experts)) {
        const Blocks blocks = held_blocks(*device, model, specs, world.rank());
        GradientReducer reducer(*device, blocks, model.placement, model.layout, world);
        fill(blocks, [](const BlockSpec&, int rank, std::size_t i) { return float((1 << rank) * int(1 + i % 3)); });
        reduce(reducer, blocks);

        for (const auto& block : blocks) {
            int hosts = 0;
            for (const int rank : hosts_of(model, block->spec())) hosts += 1 << rank;
            const auto gradient = block->flat_gradient().row<float>(0);
            int wrong = 0;
            for (std::size_t i = 0; i < gradient.size(); ++i)
                wrong += gradient[i] != float(hosts * int(1 + i % 3)) ? 1 : 0;
            EXPECT_EQ(wrong, 0) << model.name << ", " << block->spec().name();
        }
    }
}

// Any value rounds, so that only the sum in ascending rank has these bits; every host must have them. Twice, since a
// reducer serves every step.
TEST_F(GradientReducerTest, GivesEveryHostTheBitsOfTheSumInAscendingRank) {
    for (const auto& model : hosted_models(world.size(), 2, experts)) {
        const Blocks blocks = held_blocks(*device, model, specs, world.rank());
        GradientReducer reducer(*device, blocks, model.placement, model.layout, world);
        for (const std::uint32_t step : {1u, 2u}) {
            const auto value = [step](const BlockSpec& spec, int rank, std::size_t i) {
                const RandomField field(std::uint64_t(rank), Purpose::test, std::uint32_t(spec.expert + 2), step);
                return float(field.normal(i + (std::size_t(spec.layer + 1) << 32)));
            };
            fill(blocks, value);
            reduce(reducer, blocks);
            for (const auto& block : blocks) {
                const auto gradient = block->flat_gradient().row<float>(0);
                int wrong = 0;
                for (std::size_t i = 0; i < gradient.size(); i += 1 + i / 50) {
                    float sum = 0;
                    for (const int rank : hosts_of(model, block->spec())) sum += value(block->spec(), rank, i);
                    wrong += std::bit_cast<int>(gradient[i]) != std::bit_cast<int>(sum) ? 1 : 0;
                }
                EXPECT_EQ(wrong, 0) << model.name << ", step " << step << ", " << block->spec().name();
            }
        }
    }
}

TEST_F(GradientReducerTest, RefusesToFinishBeforeABlockIsReady) {
    const auto model = hosted_models(world.size(), 2, experts).front();
    const Blocks blocks = held_blocks(*device, model, specs, world.rank());
    GradientReducer reducer(*device, blocks, model.placement, model.layout, world);
    if (world.size() == 1) {
        EXPECT_NO_THROW(reducer.finish());
    } else {
        EXPECT_THROW(reducer.finish(), Error);
    }
}

}  // namespace
}  // namespace expar
