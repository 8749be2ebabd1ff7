#include "expar/compute/routing.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

struct Results {
    std::vector<int> experts, counts;
    std::vector<double> sums;
    double entropies = 0;
    Matrix probabilities, log_sum_exp, weights, d_logits;
};

Results run(Device& device, RouterConvention convention, int tokens, int experts, int top_k) {
    const DType dtype = DType::float32;
    const Matrix logits = random_matrix(device, dtype, tokens, experts, 1, 2);
    const Matrix d_weights = random_matrix(device, dtype, tokens, top_k, 2);
    std::vector<double> d_probability;
    for (int e = 0; e < experts; ++e) d_probability.push_back(0.1 * e - 0.2);
    Results out{std::vector<int>(std::size_t(tokens) * top_k),
                std::vector<int>(experts, 9),
                std::vector<double>(experts, 9),
                9,
                Matrix(device, dtype, tokens, experts),
                Matrix(device, dtype, tokens, 1),
                Matrix(device, dtype, tokens, top_k),
                Matrix(device, dtype, tokens, experts)};
    const RoutingOperations& routing = device.routing();
    Stream& stream = device.stream();
    routing.select(logits, top_k, out.experts, stream);
    if (tokens > 1) out.experts[std::size_t(top_k)] = -1;
    routing.weigh(convention, logits, out.experts, {out.probabilities, out.log_sum_exp, out.weights}, stream);
    routing.weigh_backward(convention, {out.experts, out.probabilities, out.log_sum_exp, out.weights}, d_weights,
                           {d_probability, 0.01}, out.d_logits, stream);
    routing.count(out.experts, out.counts, stream);
    routing.sum_over_tokens(out.probabilities, out.sums, stream);
    out.entropies = routing.sum_of_entropies(logits, out.probabilities, out.log_sum_exp, stream);
    return out;
}

class RoutingTest : public testing::TestWithParam<std::string> {
protected:
    RouterConvention convention = router_convention(GetParam());
    std::unique_ptr<Device> reference = make_reference_device();
    std::vector<int> choices() const { return GetParam() == "switch" ? std::vector{1} : std::vector{1, 2, 3}; }
};

TEST_P(RoutingTest, CpuGivesWhatTheReferenceGives) {
    for (const auto& [set, threads] : sets_and_threads()) {
        const auto cpu = make_cpu_device(threads, set);
        for (const int tokens : {0, 1, 63, 65, 700})
            for (const int experts : {3, 8, 16, 61})
                for (const int top_k : choices()) {
                    const Results ours = run(*cpu, convention, tokens, experts, top_k);
                    const Results expected = run(*reference, convention, tokens, experts, top_k);
                    EXPECT_EQ(ours.experts, expected.experts);
                    EXPECT_EQ(ours.counts, expected.counts);
                    EXPECT_LT(relative_error(ours.probabilities, expected.probabilities), 1e-6);
                    EXPECT_LT(relative_error(ours.log_sum_exp, expected.log_sum_exp), 1e-6);
                    EXPECT_LT(relative_error(ours.weights, expected.weights), 1e-6);
                    EXPECT_LT(relative_error(ours.d_logits, expected.d_logits), 2e-6);
                    EXPECT_NEAR(ours.entropies, expected.entropies, 1e-6 * expected.entropies);
                    for (int e = 0; e < experts; ++e)
                        EXPECT_NEAR(ours.sums[e], expected.sums[e], 1e-6 * expected.sums[e]);
                }
    }
}

TEST_P(RoutingTest, BackwardIsTheGradientOfWeightsAndLosses) {
    const DType dtype = DType::float64;
    const int tokens = 6, experts = 5;
    for (const int top_k : choices()) {
        Matrix logits = random_matrix(*reference, dtype, tokens, experts, 1);
        const Matrix d_weights = random_matrix(*reference, dtype, tokens, top_k, 2);
        const std::vector<double> d_probability = {0.5, -1, 0.25, 2, 0};
        const double z_scale = 0.3;
        std::vector<int> chosen(std::size_t(tokens) * top_k);
        Stream& stream = reference->stream();
        reference->routing().select(logits, top_k, chosen, stream);
        chosen.back() = -1;
        Matrix p(*reference, dtype, tokens, experts), lse(*reference, dtype, tokens, 1),
            weights(*reference, dtype, tokens, top_k);
        Matrix d_logits(*reference, dtype, tokens, experts);
        const auto objective = [&] {
            reference->routing().weigh(convention, logits, chosen, {p, lse, weights}, stream);
            double sum = inner_product(weights, d_weights) + z_scale * inner_product(lse, lse);
            for (int t = 0; t < tokens; ++t)
                for (int e = 0; e < experts; ++e) sum += d_probability[e] * element(p, t, e);
            return sum;
        };
        objective();
        reference->routing().weigh_backward(convention, {chosen, p, lse, weights}, d_weights, {d_probability, z_scale},
                                            d_logits, stream);
        EXPECT_LT(gradient_error(logits, d_logits, objective), 1e-8);
    }
}

TEST_P(RoutingTest, CpuBitsDoNotDependOnTheTokensBesideNorOnThreads) {
    const int top_k = choices().back();
    for (const InstructionSet set : instruction_sets()) {
        const auto one = make_cpu_device(1, set);
        const auto three = make_cpu_device(3, set);
        const Results all = run(*one, convention, 700, 11, top_k);
        const Results threaded = run(*three, convention, 700, 11, top_k);
        EXPECT_TRUE(same_bits(all.weights, threaded.weights));
        EXPECT_TRUE(same_bits(all.d_logits, threaded.d_logits));
        EXPECT_EQ(all.sums, threaded.sums);
        EXPECT_EQ(all.entropies, threaded.entropies);
        const Results some = run(*one, convention, 65, 11, top_k);
        EXPECT_TRUE(same_bits(some.weights, all.weights.view().slice(0, 65)));
        EXPECT_TRUE(same_bits(some.d_logits, all.d_logits.view().slice(0, 65)));
    }
}

INSTANTIATE_TEST_SUITE_P(Conventions, RoutingTest, testing::Values("mixtral", "olmoe", "gpt-oss", "switch"),
                         [](const auto& info) {
                             return info.param == "gpt-oss" ? std::string("gpt_oss") : info.param;
                         });

TEST(Routing, TheLargestLogitsAreChosenInOrderAndTiesGoToTheLowestId) {
    for (const auto& name : device_names()) {
        const auto device = make_device_named(name);
        Matrix logits(*device, DType::float32, 2, 6);
        std::ranges::copy(std::array{1.0F, 3.0F, 3.0F, -1.0F, 3.0F, 2.0F}, logits.view().row<float>(0).begin());
        std::ranges::copy(std::array{0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F}, logits.view().row<float>(1).begin());
        std::vector<int> experts(8);
        device->routing().select(logits, 4, experts, device->stream());
        EXPECT_EQ(experts, (std::vector{1, 2, 4, 5, 0, 1, 2, 3})) << name;
        EXPECT_THROW(device->routing().select(logits, 7, experts, device->stream()), Error);
    }
}

// Training stops on a loss that is not a number; until then ids must be ids.
TEST(Routing, LogitsThatAreNotNumbersStillGiveDistinctExperts) {
    for (const auto& name : device_names()) {
        const auto device = make_device_named(name);
        Matrix logits = random_matrix(*device, DType::float32, 1, 6, 1);
        for (const int e : {0, 3, 5}) logits.view().row<float>(0)[e] = std::nanf("");
        std::vector<int> experts(6);
        device->routing().select(logits, 6, experts, device->stream());
        std::ranges::sort(experts);
        EXPECT_EQ(experts, (std::vector{0, 1, 2, 3, 4, 5})) << name;
    }
}

TEST(Routing, WeightsFollowTheirConvention) {
    const auto device = make_reference_device();
    const Results renormalized = run(*device, RouterConvention::softmax_renormalized, 1, 8, 2);
    const Results chosen = run(*device, RouterConvention::topk_softmax, 1, 8, 2);
    const Results plain = run(*device, RouterConvention::softmax, 1, 8, 2);
    const double p0 = element(plain.probabilities, 0, plain.experts[0]);
    const double p1 = element(plain.probabilities, 0, plain.experts[1]);
    EXPECT_NEAR(element(renormalized.weights, 0, 0), p0 / (p0 + p1), 1e-6);
    EXPECT_NEAR(element(chosen.weights, 0, 1), p1 / (p0 + p1), 1e-6);
    EXPECT_EQ(element(plain.weights, 0, 1), p1);
    EXPECT_EQ(element(run(*device, RouterConvention::softmax_renormalized, 1, 8, 1).weights, 0, 0), 1);
    EXPECT_LT(element(run(*device, RouterConvention::top1_probability, 1, 8, 1).weights, 0, 0), 1);
}

// -Σ p log p of each token, with p from float64 logits.
double plain_entropies(ConstRows logits) {
    double sum = 0;
    for (int t = 0; t < logits.rows(); ++t) {
        double denominator = 0;
        for (int e = 0; e < logits.cols(); ++e) denominator += std::exp(element(logits, t, e));
        for (int e = 0; e < logits.cols(); ++e) {
            const double p = std::exp(element(logits, t, e)) / denominator;
            sum -= p * std::log(p);
        }
    }
    return sum;
}

double entropies_of(Device& device, ConstRows logits, int top_k) {
    Matrix p(device, logits.dtype(), logits.rows(), logits.cols()), lse(device, logits.dtype(), logits.rows(), 1);
    Matrix weights(device, logits.dtype(), logits.rows(), top_k);
    std::vector<int> chosen(std::size_t(logits.rows()) * top_k);
    device.routing().select(logits, top_k, chosen, device.stream());
    device.routing().weigh(RouterConvention::softmax, logits, chosen, {p, lse, weights}, device.stream());
    return device.routing().sum_of_entropies(logits, p, lse, device.stream());
}

TEST(Routing, EntropiesAreThoseOfTheFullSoftmax) {
    for (const auto& name : device_names()) {
        const auto device = make_device_named(name);
        const Matrix logits = random_matrix(*device, DType::float32, 70, 11, 5, 3);
        const double plain = plain_entropies(logits);
        EXPECT_NEAR(entropies_of(*device, logits, 2), plain, 1e-5 * plain) << name;
        const Matrix equal = zero_matrix(*device, DType::float32, 5, 8);
        EXPECT_NEAR(entropies_of(*device, equal, 2), 5 * std::log(8), 1e-5) << name;
        // One expert takes all: nothing is left to chance, and nothing is not a number.
        Matrix certain = zero_matrix(*device, DType::float32, 1, 8);
        certain.view().row<float>(0)[3] = 300;
        EXPECT_NEAR(entropies_of(*device, certain, 2), 0, 1e-4) << name;
    }
    const auto reference = make_reference_device();
    const Matrix logits = random_matrix(*reference, DType::float64, 70, 11, 5, 3);
    const double plain = plain_entropies(logits);
    EXPECT_NEAR(entropies_of(*reference, logits, 2), plain, 1e-12 * plain);
}

TEST(Routing, AnUnknownNameListsTheKnownOnes) {
    EXPECT_EQ(router_convention_names(), "mixtral, olmoe, gpt-oss, switch");
    EXPECT_THROW((void)router_convention("noisy"), UserError);
}

}  // namespace
}  // namespace expar
