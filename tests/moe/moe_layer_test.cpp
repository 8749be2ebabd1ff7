#include "expar/moe/moe_layer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "expar/compute/cpu_device.hpp"
#include "support/moe_on_ranks.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

constexpr int total_tokens = 203;  // more than a block of rows for some experts, fewer for others

struct Case {
    std::string name;
    MoeOptions options;
    bool shuffled = false;
    bool copies = false;
    std::string dispatcher = "packed";
    int chunks = 1;
};

MoeOptions base() {
    MoeOptions options;
    options.hidden = 24;
    options.intermediate = 40;
    options.experts = 6;
    options.top_k = 2;
    options.initial_std = 0.3;
    return options;
}

std::vector<Case> cases() {
    std::vector<Case> all;
    all.push_back({"top2", base()});
    all.push_back({"shuffled_top3", base(), true});
    all.back().options.top_k = 3;
    all.push_back({"switch", base()});
    all.back().options.top_k = 1;
    all.back().options.convention = RouterConvention::top1_probability;
    all.push_back({"capacity", base()});
    all.back().options.capacity_factor = 0.8;
    all.push_back({"gated_shared_gelu_noise", base()});
    all.back().options.shared = SharedExpert::gated;
    all.back().options.shared_intermediate = 16;
    all.back().options.activation = Activation::gelu;
    all.back().options.router_noise = 0.5;
    all.push_back({"summed_shared_copies", base(), false, true});
    all.back().options.shared = SharedExpert::sum;
    all.back().options.shared_intermediate = 16;
    // More chunks than some rank has tokens, and some for which an expert serves none.
    for (const int chunks : {2, 4, 30})
        for (const char* name : {"top2", "gated_shared_gelu_noise", "summed_shared_copies"}) {
            const auto one = std::ranges::find(all, name, &Case::name);
            all.push_back(*one);
            all.back().name += concat("_", chunks, "_chunks");
            all.back().chunks = chunks;
        }
    const std::vector<Case> packed = all;
    for (const std::string& kind : dispatcher_names())
        for (Case each : packed)
            if (kind != "packed") {
                each.dispatcher = kind;
                each.name += "_" + kind;
                all.push_back(each);
            }
    return all;
}

// Copies: every expert also on the next member.
Placement with_copies(const Placement& single) {
    std::vector<std::vector<int>> slots(single.members());
    for (int m = 0; m < single.members(); ++m) {
        const auto own = single.experts_on(0, m);
        slots[m].insert(slots[m].end(), own.begin(), own.end());
        if (single.members() == 1) continue;
        const auto next = single.experts_on(0, (m + 1) % single.members());
        slots[m].insert(slots[m].end(), next.begin(), next.end());
    }
    return Placement(single.experts(), {slots});
}

class MoeLayerTest : public testing::TestWithParam<Case> {
protected:
    struct Run {
        Matrix y, d_x;
        MoeState state;
    };

    static Run run(MoeOnRanks& moe, int first, int tokens) {
        const Matrix x = random_tokens(moe.device, DType::float32, tokens, moe.layer->options().hidden, 1, first);
        const Matrix d_y = random_tokens(moe.device, DType::float32, tokens, moe.layer->options().hidden, 2, first);
        auto [y, state] = moe.layer->forward(x, {.seed = 4, .step = 1, .first_token = first}, true);
        const auto balance = std::vector<double>(moe.layer->options().experts, 1e-3);
        Matrix d_x = moe.layer->backward(x, state, d_y, {balance, 1e-4});
        return {std::move(y), std::move(d_x), std::move(state)};
    }

    // Runs the layer over all ranks and, on this rank alone, over all tokens.
    void compare(CombineOrder order, const std::function<void(Run&, MoeOnRanks&, Run&, MoeOnRanks&)>& check) {
        MoeOptions options = GetParam().options;
        options.order = order;
        const auto place = [&](int members) {
            const Placement single = GetParam().shuffled ? shuffled_placement(1, options.experts, members, 9)
                                                         : linear_placement(1, options.experts, members);
            return GetParam().copies ? with_copies(single) : single;
        };
        MoeOnRanks together(options, place(world.size()), DType::float32, *device, world,
                            {GetParam().dispatcher, "spread", GetParam().chunks});
        MoeOnRanks alone(options, place(1), DType::float32, *device, self);
        Run here = run(together, first[world.rank()], first[world.rank() + 1] - first[world.rank()]);
        Run all = run(alone, 0, total_tokens);
        check(here, together, all, alone);
    }

    Communicator world{MPI_COMM_WORLD};
    Communicator self{MPI_COMM_SELF};
    std::unique_ptr<Device> device = make_cpu_device(1);
    std::vector<int> first = unequal_runs(total_tokens, world.size());
};

TEST_P(MoeLayerTest, GivesTheBitsOfOneRankUnderExact) {
    compare(CombineOrder::exact, [&](Run& here, MoeOnRanks& together, Run& all, MoeOnRanks& alone) {
        const int begin = first[world.rank()];
        EXPECT_TRUE(same_bits(here.y.view(), all.y.view().slice(begin, here.y.rows())));
        EXPECT_TRUE(same_bits(here.d_x.view(), all.d_x.view().slice(begin, here.d_x.rows())));
        if (GetParam().copies && world.size() > 1) return;  // a copy has seen only some of the expert's tokens
        for (const auto& block : together.blocks) {
            if (block->spec().role != Role::expert) continue;
            const auto same_expert = [&](const auto& other) { return other->spec().expert == block->spec().expert; };
            const auto other = std::ranges::find_if(alone.blocks, same_expert);
            EXPECT_TRUE(same_bits(block->flat_gradient(), (*other)->flat_gradient())) << block->spec().name();
        }
    });
}

// Under `reduced`, sums are regrouped by rank: float32 rounding of at most k terms.
TEST_P(MoeLayerTest, AgreesWithOneRankUnderReduced) {
    compare(CombineOrder::reduced, [&](Run& here, MoeOnRanks&, Run& all, MoeOnRanks&) {
        const int begin = first[world.rank()];
        for (int t = 0; t < here.y.rows(); ++t)
            for (int c = 0; c < here.y.cols(); ++c) {
                EXPECT_NEAR(here.y.view().row<float>(t)[c], all.y.view().row<float>(begin + t)[c], 1e-5);
                EXPECT_NEAR(here.d_x.view().row<float>(t)[c], all.d_x.view().row<float>(begin + t)[c], 1e-5);
            }
    });
}

TEST_P(MoeLayerTest, CountsEveryChoiceAsKeptOrDropped) {
    compare(CombineOrder::exact, [&](Run& here, MoeOnRanks&, Run& all, MoeOnRanks&) {
        const auto summed = sum_over_ranks({here.state.statistics}, world)[0];
        std::vector<int> kept{0};
        for (const int keep : here.state.routing.kept.host()) kept[0] += keep;
        world.sum(std::span<int>(kept));
        EXPECT_EQ(kept[0] + summed.dropped, GetParam().options.top_k * total_tokens);
        EXPECT_EQ(summed.dropped, all.state.statistics.dropped);
        EXPECT_EQ(summed.choices, all.state.statistics.choices);
        EXPECT_EQ(summed.dropped > 0, GetParam().options.capacity_factor > 0);
    });
}

INSTANTIATE_TEST_SUITE_P(Cases, MoeLayerTest, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace expar
