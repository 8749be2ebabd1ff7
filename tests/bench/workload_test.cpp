#include "expar/bench/workload.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "expar/bench/skew.hpp"
#include "support/temporary_folder.hpp"

namespace expar {
namespace {

using testing_support::complaint_of;
using testing_support::TemporaryFolder;
using testing_support::write_text;

const WorkloadShape shape{.ranks = 4, .tokens = 200, .experts = 16, .top_k = 3};

std::vector<std::string> all_specs() {
    std::vector<std::string> specs;
    for (const auto& kind : workload_kinds())
        if (const auto name = kind.form.substr(0, kind.form.find(':')); name != "matrix") specs.push_back(name);
    return specs;
}

std::vector<int> choices_of_experts(const std::vector<RankRouting>& all, int experts) {
    std::vector<int> choices(experts);
    for (const auto& rank : all)
        for (const int expert : rank.experts) ++choices[expert];
    return choices;
}

int tokens_of(const std::vector<RankRouting>& all) {
    return std::accumulate(all.begin(), all.end(), 0, [](int sum, const auto& rank) { return sum + rank.tokens; });
}

double share_of(const std::vector<int>& choices, int first, int count) {
    return double(std::accumulate(choices.begin() + first, choices.begin() + first + count, 0)) /
           double(std::accumulate(choices.begin(), choices.end(), 0));
}

TEST(Workload, EveryTokenChoosesDifferentExpertsWithExactDescendingWeights) {
    for (const auto& spec : all_specs()) {
        const auto workload = make_workload(spec, shape, 1);
        const auto all = workload->routings(3);
        ASSERT_EQ(int(all.size()), shape.ranks) << spec;
        EXPECT_EQ(tokens_of(all), shape.ranks * shape.tokens) << spec;
        for (const auto& rank : all) {
            ASSERT_EQ(rank.experts.size(), std::size_t(rank.tokens) * 3) << spec;
            ASSERT_EQ(rank.weights.size(), rank.experts.size()) << spec;
            for (int t = 0; t < rank.tokens; ++t) {
                const auto experts = rank.experts_of(t);
                EXPECT_EQ(std::set(experts.begin(), experts.end()).size(), 3u) << spec;
                EXPECT_TRUE(std::ranges::all_of(experts, [](int e) { return e >= 0 && e < 16; })) << spec;
                const auto weights = std::span(rank.weights).subspan(std::size_t(t) * 3, 3);
                EXPECT_TRUE(std::ranges::is_sorted(weights, std::ranges::greater())) << spec;
                EXPECT_TRUE(std::ranges::all_of(
                    weights, [](float w) { return w > 0 && w <= 1 && w * 16 == float(int(w * 16)); }));
            }
        }
    }
}

TEST(Workload, TheHashDependsOnSeedAndStepAndNameAndOnNothingElse) {
    std::set<std::uint64_t> hashes;
    int made = 0;
    for (const auto& spec : all_specs())
        for (const std::uint64_t seed : {1, 2})
            for (const std::uint64_t step : {0, 5}) {
                const auto hash = hash_of(make_workload(spec, shape, seed)->routings(step));
                EXPECT_EQ(hash, hash_of(make_workload(spec, shape, seed)->routings(step)));
                // The ids stand for others; between bursts all is uniform; a spot that rotates begins as a hot rank.
                if (spec[0] != 'W' && spec != "burst" && spec != "rotating") {
                    hashes.insert(hash);
                    ++made;
                }
            }
    EXPECT_EQ(int(hashes.size()), made);
}

TEST(Workload, TheHashSeesOneExpertAndOneWeight) {
    auto all = make_workload("uniform", shape, 1)->routings(0);
    const auto before = hash_of(all);
    std::swap(all[2].experts[0], all[2].experts[1]);
    EXPECT_NE(hash_of(all), before);
    std::swap(all[2].experts[0], all[2].experts[1]);
    EXPECT_EQ(hash_of(all), before);
    all[3].weights[7] += 1;
    EXPECT_NE(hash_of(all), before);
}

// The routing of a seed is a promise: figures of other machines and other programs are compared by it.
TEST(Workload, RoutingsStayWhatTheyWere) {
    const auto uniform = make_workload("uniform", {.ranks = 2, .tokens = 2, .experts = 8, .top_k = 2}, 1)->routings(0);
    EXPECT_EQ(uniform[0].experts, (std::vector<int>{3, 5, 5, 0}));
    EXPECT_EQ(uniform[1].experts, (std::vector<int>{2, 6, 0, 3}));
    EXPECT_EQ(hash_of(uniform), 11204269365791299300u);
}

TEST(Workload, BalancedGivesEveryExpertAsMuchAtEveryPlace) {
    const auto all = make_workload("balanced", shape, 1)->routings(0);  // 800 tokens = 50 x 16
    EXPECT_EQ(choices_of_experts(all, 16), std::vector<int>(16, 150));
    std::vector<int> firsts(16);
    std::set<std::set<int>> sets;
    for (const auto& rank : all)
        for (int t = 0; t < rank.tokens; ++t) {
            const auto experts = rank.experts_of(t);
            ++firsts[experts[0]];
            sets.emplace(experts.begin(), experts.end());
        }
    EXPECT_EQ(firsts, std::vector<int>(16, 50));
    EXPECT_GT(sets.size(), 300u);  // of 560: not the same few again and again
}

TEST(Workload, ZipfFallsAsAsked) {
    const WorkloadShape one{.ranks = 2, .tokens = 20000, .experts = 8, .top_k = 1};
    auto choices = choices_of_experts(make_workload("zipf:1.2", one, 1)->routings(0), 8);
    std::ranges::sort(choices, std::ranges::greater());
    for (int n = 1; n < 8; ++n)
        EXPECT_NEAR(double(choices[n]) / choices[0], std::pow(n + 1, -1.2), 0.02) << "place " << n;
}

TEST(Workload, HotOnesGetTheirShare) {
    const WorkloadShape one{.ranks = 4, .tokens = 5000, .experts = 16, .top_k = 1};
    const auto largest = [&](const std::string& spec) {
        const auto choices = choices_of_experts(make_workload(spec, one, 1)->routings(0), 16);
        return double(std::ranges::max(choices)) / 20000;
    };
    EXPECT_NEAR(largest("hot-expert:0.6"), 0.6, 0.02);
    EXPECT_NEAR(largest("hot-experts:0.6"), 0.15, 0.02);
    EXPECT_NEAR(largest("spread-hot:0.6"), 0.15, 0.02);
    EXPECT_EQ(largest("hot-expert:1"), 1);

    const auto of_ranks = [&](const std::string& spec, std::uint64_t step) {
        const auto choices = choices_of_experts(make_workload(spec, one, 1)->routings(step), 16);
        std::vector<double> shares;
        for (int rank = 0; rank < 4; ++rank) shares.push_back(share_of(choices, 4 * rank, 4));
        return shares;
    };
    EXPECT_NEAR(std::ranges::max(of_ranks("hot-rank:0.7", 0)), 0.7, 0.02);
    EXPECT_NEAR(std::ranges::max(of_ranks("spread-hot:0.7", 0)), 0.25, 0.02);
    std::set<std::ptrdiff_t> hot;
    for (const std::uint64_t step : {0, 1, 2, 3}) {
        const auto shares = of_ranks("rotating:0.7", step);
        EXPECT_NEAR(std::ranges::max(shares), 0.7, 0.02);
        hot.insert(std::ranges::max_element(shares) - shares.begin());
        EXPECT_NEAR(std::ranges::max(of_ranks("burst:0.7", step)), 0.25, 0.02);
    }
    EXPECT_EQ(hot.size(), 4u);
    EXPECT_NEAR(std::ranges::max(of_ranks("burst:0.7", 7)), 0.7, 0.02);
}

// A token that has all the hot experts takes its other choices from the rest.
TEST(Workload, AHotExpertIsNeverChosenTwice) {
    for (const auto& rank : make_workload("hot-expert:1", shape, 1)->routings(0))
        for (int t = 0; t < rank.tokens; ++t) EXPECT_NE(rank.experts_of(t)[0], rank.experts_of(t)[1]);
}

TEST(Workload, RaggedSourcesGrowWithTheRankAndAnIdleOneHasNothing) {
    std::vector<int> tokens;
    for (const auto& rank : make_workload("ragged", shape, 1)->routings(0)) tokens.push_back(rank.tokens);
    EXPECT_EQ(tokens, (std::vector<int>{80, 160, 240, 320}));

    const auto all = make_workload("zero-rank", shape, 1)->routings(0);
    const auto idle = std::ranges::find(all, 0, &RankRouting::tokens);
    ASSERT_NE(idle, all.end());
    const auto choices = choices_of_experts(all, 16);
    EXPECT_EQ(share_of(choices, 4 * int(idle - all.begin()), 4), 0);
    EXPECT_EQ(std::ranges::count(choices, 0), 4);
}

TEST(Workload, CorrelatedChoicesLieInAGroup) {
    const WorkloadShape large{.ranks = 2, .tokens = 2000, .experts = 16, .top_k = 2};
    const auto together = [&](const std::string& spec) {
        std::vector<int> pairs(256);
        for (const auto& rank : make_workload(spec, large, 1)->routings(0))
            for (int t = 0; t < rank.tokens; ++t)
                ++pairs[std::ranges::min(rank.experts_of(t)) * 16 + std::ranges::max(rank.experts_of(t))];
        std::ranges::sort(pairs, std::ranges::greater());
        return std::accumulate(pairs.begin(), pairs.begin() + 24, 0) / 4000.0;  // 4 groups of 4 have 24 pairs
    };
    EXPECT_GT(together("correlated:4"), 0.75);
    EXPECT_LT(together("uniform"), 0.35);
}

TEST(Workload, AMatrixSaysWhoSendsToWhom) {
    const TemporaryFolder folder;
    write_text(folder / "m.txt", "# from \\ to\n0 3 1 0\n1,1,1,1\n\n0 0 0 0\n2\t0 0 2\n");
    const auto all = make_workload("matrix:" + (folder / "m.txt").string(),
                                   {.ranks = 4, .tokens = 3000, .experts = 16, .top_k = 1}, 1)
                         ->routings(0);
    EXPECT_EQ(all[0].tokens, 4000);
    EXPECT_EQ(all[2].tokens, 0);
    const auto choices = choices_of_experts({all[0]}, 16);
    EXPECT_EQ(share_of(choices, 0, 4), 0);
    EXPECT_NEAR(share_of(choices, 4, 4), 0.75, 0.03);
    EXPECT_NEAR(share_of(choices, 8, 4), 0.25, 0.03);
}

TEST(Workload, WhatCannotBeIsRefusedInOneLine) {
    const TemporaryFolder folder;
    const auto refused = [&](const std::string& spec, const WorkloadShape& of = shape) {
        return complaint_of<UserError>([&] { (void)make_workload(spec, of, 1); });
    };
    const std::string known = refused("zipfian");
    for (const auto& spec : all_specs()) EXPECT_NE(known.find(spec), std::string::npos) << spec;
    EXPECT_NE(known.find("unknown workload 'zipfian'"), std::string::npos);
    EXPECT_EQ(refused("zipf:x"), "workload zipf:x: expected a number from 0 to 16");
    EXPECT_EQ(refused("hot-rank:1.5"), "workload hot-rank:1.5: expected a number from 0 to 1");
    EXPECT_EQ(refused("uniform:3"), "workload uniform:3: uniform takes nothing behind a colon");
    EXPECT_EQ(refused("zero-rank", {.ranks = 1, .tokens = 1, .experts = 4, .top_k = 1}),
              "workload zero-rank: expected 2 ranks or more");
    EXPECT_EQ(refused("uniform", {.ranks = 1, .tokens = 1, .experts = 4, .top_k = 5}),
              "workload uniform: 5 choices of a token, expected 1 to 4");
    EXPECT_NE(refused("matrix:" + (folder / "none").string()).find("cannot be read"), std::string::npos);
    const auto matrix = [&](const std::string& text) {
        write_text(folder / "m", text);
        const std::string spec = "matrix:" + (folder / "m").string();
        const std::string line = refused(spec, {.ranks = 2, .tokens = 4, .experts = 4, .top_k = 2});
        return line.substr(line.rfind("/m: ") == std::string::npos ? line.rfind("/m:") + 1 : line.rfind("/m: ") + 4);
    };
    EXPECT_EQ(matrix("1 2\n3 x\n"), "m:2: 'x', expected a number of at least 0");
    EXPECT_EQ(matrix("1 2\n3 -1\n"), "m:2: '-1', expected a number of at least 0");
    EXPECT_EQ(matrix("1 2 3\n3 1\n"), "m:1: 3 numbers, expected 2, one for each rank");
    EXPECT_EQ(matrix("1 2\n"), "1 lines of numbers, expected 2, one for each rank");
    EXPECT_EQ(matrix("0 0\n0 0\n"), "nobody sends anything");
    EXPECT_EQ(refused("matrix:"), "workload matrix:: expected matrix:FILE");
}

TEST(Workload, BecomesARoutingOfTheDevice) {
    const auto device = make_reference_device();
    const RankRouting rank{2, 2, {3, 1, 0, 2}, {1, 0.5, 0.25, 0.125}};
    const Routing routing = to_routing(rank, *device);
    EXPECT_EQ(routing.tokens, 2);
    EXPECT_EQ(routing.top_k, 2);
    EXPECT_TRUE(std::ranges::equal(routing.experts.host(), rank.experts));
    EXPECT_EQ(routing.dropped(), 0);
    EXPECT_EQ(routing.weights.view().row<float>(1)[0], 0.25f);
    EXPECT_EQ(to_routing(rank, *device, DType::float64).weights.view().row<double>(1)[1], 0.125);
}

}  // namespace
}  // namespace expar
