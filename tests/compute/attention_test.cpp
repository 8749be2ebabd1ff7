#include "expar/compute/attention.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "expar/compute/rows.hpp"
#include "support/devices.hpp"
#include "support/gradient_check.hpp"
#include "support/random_rows.hpp"

namespace expar {
namespace {

struct Problem {
    AttentionShape shape;
    std::vector<int> offsets;
    DType dtype = DType::float32;
    double q_scale = 2;

    [[nodiscard]] int rows() const { return offsets.back(); }
    [[nodiscard]] int q_cols() const { return shape.heads * shape.head_size; }
    [[nodiscard]] int kv_cols() const { return shape.kv_heads * shape.head_size; }
};

struct State {
    Matrix q, k, v, d_out, out, lse, d_q, d_k, d_v;

    State(Device& device, const Problem& p)
        : q(random_matrix(device, p.dtype, p.rows(), p.q_cols(), 1, p.q_scale)),
          k(random_matrix(device, p.dtype, p.rows(), p.kv_cols(), 2)),
          v(random_matrix(device, p.dtype, p.rows(), p.kv_cols(), 3)),
          d_out(random_matrix(device, p.dtype, p.rows(), p.q_cols(), 4)),
          out(device, p.dtype, p.rows(), p.q_cols()),
          lse(device, wide(p.dtype), p.rows(), p.shape.heads),
          d_q(device, p.dtype, p.rows(), p.q_cols()),
          d_k(device, p.dtype, p.rows(), p.kv_cols()),
          d_v(device, p.dtype, p.rows(), p.kv_cols()) {}

    void forward(Device& device, const Problem& p) {
        device.attention().forward(p.shape, {p.offsets, p.offsets}, {q, k, v}, out, lse, device.stream());
    }
    void backward(Device& device, const Problem& p) {
        device.attention().backward(p.shape, p.offsets, {{q, k, v}, out, lse}, d_out, {d_q, d_k, d_v}, device.stream());
    }
};

State run(Device& device, const Problem& problem) {
    State state(device, problem);
    state.forward(device, problem);
    state.backward(device, problem);
    return state;
}

std::vector<Problem> problems() {
    return {
        {{1, 1, 1}, {0, 1}},
        {{2, 1, 4}, {0, 0}},
        {{2, 2, 8}, {0, 3, 3, 10}},
        {{4, 2, 32}, {0, 63, 127}},
        {{6, 2, 20}, {0, 65, 66, 200}},
        {{8, 8, 32}, {0, 256}},
        {{2, 1, 64}, {0, 129, 300}},
        {{3, 1, 33}, {0, 70}},
        {{16, 1, 128}, {0, 31, 97}},
    };
}

class CpuAttentionTest : public InstructionSetTest {};

// Probabilities, and their gradients, that are rounded to bfloat16 as factors of a sum are off by half a step of 2^-8
// each, this way or that: the sum by less than that of the largest.
TEST_P(CpuAttentionTest, GivesWhatTheReferenceGives) {
    const auto reference = make_reference_device();
    for (const int threads : {1, 3}) {
        const auto cpu = make_cpu(threads);
        for (Problem problem : problems())
            for (const DType dtype : {DType::float32, DType::bfloat16}) {
                problem.dtype = dtype;
                const State ours = run(*cpu, problem);
                const State expected = run(*reference, problem);
                const double tolerance = row_tolerance(dtype, 3e-6);
                EXPECT_LT(relative_error(ours.out, expected.out), tolerance);
                EXPECT_LT(relative_error(ours.lse, expected.lse), 2e-6);
                EXPECT_LT(relative_error(ours.d_v, expected.d_v), tolerance);
                if (problem.shape.head_size == 1) continue;  // a lone key has probability 1 and no gradient
                EXPECT_LT(relative_error(ours.d_q, expected.d_q), tolerance);
                EXPECT_LT(relative_error(ours.d_k, expected.d_k), tolerance);
            }
    }
}

// Scores of some hundreds are off by 1e-4, and so are exponentials of them; most of these are too small for a float.
TEST_P(CpuAttentionTest, LargeScoresDoNotOverflow) {
    const Problem problem{{2, 1, 32}, {0, 150}, DType::float32, 100};
    const State ours = run(*make_cpu(1), problem);
    const State expected = run(*make_reference_device(), problem);
    EXPECT_LT(relative_error(ours.out, expected.out), 1e-3);
    EXPECT_LT(relative_error(ours.lse, expected.lse), 2e-6);
    EXPECT_LT(relative_error(ours.d_q, expected.d_q), 1e-3);
    EXPECT_LT(relative_error(ours.d_k, expected.d_k), 1e-3);
    EXPECT_LT(relative_error(ours.d_v, expected.d_v), 1e-3);
}

TEST(Attention, BackwardIsTheGradientOfForward) {
    const auto device = make_reference_device();
    for (const AttentionShape shape : {AttentionShape{2, 2, 4}, {4, 2, 2}}) {
        const Problem problem{shape, {0, 3, 8}, DType::float64};
        State state = run(*device, problem);
        const auto objective = [&] {
            state.forward(*device, problem);
            return inner_product(state.out, state.d_out);
        };
        EXPECT_LT(gradient_error(state.q, state.d_q, objective), 1e-8);
        EXPECT_LT(gradient_error(state.k, state.d_k, objective), 1e-8);
        EXPECT_LT(gradient_error(state.v, state.d_v, objective), 1e-8);
    }
}

class AttentionTest : public testing::TestWithParam<std::string> {
protected:
    std::unique_ptr<Device> device = make_device_named(GetParam(), 2);
};

// The last queries alone against all keys, as decoding with a cache asks: the same bits as in one pass.
TEST_P(AttentionTest, QueriesAfterACacheGiveWhatOnePassGives) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const Problem problem{{4, 2, 24}, {0, 80, 230}, dtype};
        State state(*device, problem);
        state.forward(*device, problem);
        for (const int queries : {1, 2, 63, 80}) {
            // queries of the first sequence, then as many of the second
            const std::vector<int> query_offsets = {0, queries, 2 * queries};
            std::vector<int> rows;
            for (const int end : {80, 230})
                for (int r = end - queries; r < end; ++r) rows.push_back(r);
            Matrix q(*device, dtype, 2 * queries, problem.q_cols()), out(*device, dtype, 2 * queries, problem.q_cols());
            Matrix lse(*device, DType::float32, 2 * queries, 4);
            device->rows().gather(ConstRows(state.q), rows, q, device->stream());
            device->attention().forward(problem.shape, {query_offsets, problem.offsets}, {q, state.k, state.v}, out,
                                        lse, device->stream());
            for (int s = 0; s < 2; ++s) {
                const int first = problem.offsets[s + 1] - queries;
                EXPECT_TRUE(same_bits(out.view().slice(s * queries, queries), state.out.view().slice(first, queries)))
                    << queries;
                EXPECT_TRUE(same_bits(lse.view().slice(s * queries, queries), state.lse.view().slice(first, queries)))
                    << queries;
            }
        }
    }
}

TEST_P(AttentionTest, SequencesDoNotSeeEachOther) {
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const AttentionShape shape{2, 1, 8};
        const Problem both{shape, {0, 70, 130}, dtype};
        const Problem first{shape, {0, 70}, dtype};
        const State together = run(*device, both);
        const State alone = run(*device, first);
        EXPECT_TRUE(same_bits(together.out.view().slice(0, 70), alone.out));
        EXPECT_TRUE(same_bits(together.d_k.view().slice(0, 70), alone.d_k));
        EXPECT_TRUE(same_bits(together.d_q.view().slice(0, 70), alone.d_q));
    }
}

TEST_P(AttentionTest, RotationKeepsLengthsDependsOnPositionsAndCanBeUndone) {
    const Matrix before = random_matrix(*device, DType::float32, 5, 3 * 20, 1);
    Matrix x = random_matrix(*device, DType::float32, 5, 3 * 20, 1);
    const std::vector<int> positions = {0, 1, 7, 1000, 1};
    device->attention().rotate(x, positions, 20, 10000, 1, device->stream());
    EXPECT_TRUE(same_bits(x.view().slice(0, 1), before.view().slice(0, 1)));
    for (int r = 0; r < 5; ++r)
        for (int head = 0; head < 3; ++head)
            EXPECT_NEAR(
                inner_product(x.view().slice(r, 1).columns(20 * head, 20), x.view().slice(r, 1).columns(20 * head, 20)),
                inner_product(before.view().slice(r, 1).columns(20 * head, 20),
                              before.view().slice(r, 1).columns(20 * head, 20)),
                1e-4);
    // pair (1, 11) of row 2: position 7, frequency 10000^(-2/20)
    const double angle = 7 * std::pow(10000.0, -0.1);
    EXPECT_NEAR(element(x, 2, 1), element(before, 2, 1) * std::cos(angle) - element(before, 2, 11) * std::sin(angle),
                1e-6);
    EXPECT_NEAR(element(x, 2, 11), element(before, 2, 11) * std::cos(angle) + element(before, 2, 1) * std::sin(angle),
                1e-6);
    device->attention().rotate(x, positions, 20, 10000, -1, device->stream());
    EXPECT_LT(relative_error(x, before), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Devices, AttentionTest, testing::ValuesIn(device_names()));

TEST_P(CpuAttentionTest, RotatesAsTheReferenceDoes) {
    const auto cpu = make_cpu(2);
    const auto reference = make_reference_device();
    for (const int head_size : {2, 6, 32, 66})
        for (const double theta : {10000.0, 500.0, 10000.0}) {
            std::vector<int> positions;
            for (int t = 0; t < 300; ++t) positions.push_back(t * 37 % 2000);
            Matrix ours = random_matrix(*cpu, DType::float32, 300, 2 * head_size, 1);
            Matrix expected = random_matrix(*reference, DType::float32, 300, 2 * head_size, 1);
            cpu->attention().rotate(ours, positions, head_size, theta, -1, cpu->stream());
            reference->attention().rotate(expected, positions, head_size, theta, -1, reference->stream());
            EXPECT_LT(relative_error(ours, expected), 1e-6);
        }
}

TEST_P(CpuAttentionTest, BitsDoNotDependOnThreads) {
    const auto one = make_cpu(1);
    const auto three = make_cpu(3);
    for (const DType dtype : {DType::float32, DType::bfloat16}) {
        const Problem problem{{4, 2, 32}, {0, 100, 101, 300}, dtype};
        const State expected = run(*one, problem);
        const State results = run(*three, problem);
        EXPECT_TRUE(same_bits(results.out, expected.out));
        EXPECT_TRUE(same_bits(results.d_q, expected.d_q));
        EXPECT_TRUE(same_bits(results.d_k, expected.d_k));
        EXPECT_TRUE(same_bits(results.d_v, expected.d_v));
    }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, CpuAttentionTest, testing::ValuesIn(instruction_sets()),
                         instruction_set_name);

}  // namespace
}  // namespace expar
